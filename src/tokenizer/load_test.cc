// Broken and unsupported tokenizers: an error that says where, never a crash.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_testing.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

const std::string kPipeline = testing::split_members("\\p{L}+");

std::string error_of(const std::string& json, const std::string& config = "") {
  try {
    Tokenizer::load(json, config, "tokenizer.json").encode("abc <x> d");
    return "loads";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string with_members(std::string_view members) {
  return testing::small_tokenizer({"a b"}, members);
}

// The message: the field, and the class of the mistake.
void expect_error(const std::string& json, std::string_view field, std::string_view kind) {
  const std::string message = error_of(json);
  EXPECT_TRUE(message.starts_with("tokenizer.json: ")) << message;
  EXPECT_NE(message.find(field), std::string::npos) << message;
  EXPECT_NE(message.find(kind), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

std::string with_model(std::string_view model) {
  return fmt::format(R"({{"model": {{{}}}, {}}})", model, kPipeline);
}

TEST(Load, AGoodOne) { EXPECT_EQ(error_of(with_members(kPipeline)), "loads"); }

TEST(Load, Vocabulary) {
  const auto vocab = [](std::string_view members) {
    return with_model(fmt::format(R"("type": "BPE", "vocab": {{{}}}, "merges": [])", members));
  };
  expect_error(vocab(R"("a": -1)"), "model.vocab", "FIELD");
  expect_error(vocab(R"("a": 2147483648)"), "model.vocab", "FIELD");
  expect_error(vocab(R"("a": 2097152)"), "model.vocab", "allowed is an integer");
  expect_error(vocab(R"("a": 1.5)"), "model.vocab", "FIELD");
  expect_error(vocab(R"("a": "1")"), "model.vocab", "FIELD");
  expect_error(vocab(R"("a": null)"), "model.vocab", "FIELD");
  expect_error(vocab(R"("a": 1, "b": 1)"), "model.vocab", "DUP");
  expect_error(vocab(R"("a": 1, "a": 2)"), "\"a\"", "DUP");
  expect_error(vocab(""), "model.vocab", "FIELD");
  EXPECT_EQ(error_of(vocab(R"("a": 0, "b": 2000000)")), "loads");  // a gap is no mistake
}

TEST(Load, Merges) {
  const auto merges = [](std::string_view list) {
    return with_model(fmt::format(R"("vocab": {{"a": 0, "b": 1, "ab": 2}}, "merges": {})", list));
  };
  EXPECT_EQ(error_of(merges(R"(["a b"])")), "loads");
  EXPECT_EQ(error_of(merges(R"([["a", "b"]])")), "loads");
  expect_error(merges(R"(["b a"])"), "model.merges", "INDEX");
  expect_error(merges(R"(["a c"])"), "model.merges", "INDEX");
  for (const char* list : {R"(["a"])", R"(["a b c"])", R"([["a"]])", R"([["a", "b", "ab"]])",
                           R"([3])", R"([["a", 3]])", R"({})", "null"}) {
    expect_error(merges(list), "model.merges", "FIELD");
  }
}

TEST(Load, Model) {
  const std::string rest = R"(, "vocab": {"a": 0}, "merges": [])";
  expect_error(with_model(R"("type": "Unigram")" + rest), "Unigram", "not supported");
  expect_error(with_model(R"("type": "WordPiece")" + rest), "WordPiece", "not supported");
  expect_error(with_model(R"("byte_fallback": true)" + rest), "SentencePiece", "not supported");
  expect_error(with_model(R"("continuing_subword_prefix": "##")" + rest), "##", "not supported");
  expect_error(with_model(R"("end_of_word_suffix": "</w>")" + rest), "</w>", "not supported");
  expect_error(with_model(R"("dropout": 0.1)" + rest), "dropout", "not supported");
  expect_error(with_model(R"("unk_token": "?")" + rest), "unk_token", "INDEX");
  expect_error(with_model(R"("ignore_merges": 1)" + rest), "ignore_merges", "FIELD");
  expect_error(with_model(R"("type": "BPE")"), "model.vocab", "missing");
  expect_error("{" + kPipeline + "}", "model", "missing");
}

TEST(Load, Pipeline) {
  const auto pre = [](std::string_view part) {
    return with_members(fmt::format(R"("pre_tokenizer": {})", part));
  };
  expect_error(pre("null"), "pre_tokenizer", "not supported");
  expect_error(pre(R"({"type": "Metaspace"})"), "Metaspace", "not supported");
  expect_error(pre(R"({"type": "Whitespace"})"), "Whitespace", "not supported");
  expect_error(pre(R"({"type": "Sequence"})"), "pretokenizers", "missing");
  expect_error(pre(R"({"type": "Sequence", "pretokenizers": [null]})"), "pretokenizers", "FIELD");
  expect_error(pre(R"({"type": 3})"), "pre_tokenizer.type", "FIELD");
  expect_error(pre(R"([])"), "pre_tokenizer", "missing");
  const auto split = [&](std::string_view pattern, std::string_view behavior) {
    return pre(fmt::format(R"({{"type": "Sequence", "pretokenizers": [{{"type": "Split",
        "pattern": {}, "behavior": "{}"}}, {{"type": "ByteLevel"}}]}})",
                           pattern, behavior));
  };
  EXPECT_EQ(error_of(split(R"({"Regex": "x"})", "Isolated")), "loads");
  EXPECT_EQ(error_of(split(R"({"String": "(x"})", "Removed")), "loads");
  expect_error(split(R"({"Regex": "(x"})", "Isolated"), "pattern", "FIELD");
  expect_error(split(R"({"Regex": 3})", "Isolated"), "pattern", "FIELD");
  expect_error(split(R"({})", "Isolated"), "pattern.String", "missing");
  expect_error(split(R"({"Regex": "x"})", "MergedWithNext"), "MergedWithNext", "not supported");
  expect_error(with_members(kPipeline + R"(, "normalizer": {"type": "NFKC"})"), "NFKC",
               "not supported");
  expect_error(with_members(kPipeline + R"(, "normalizer": {"type": "Prepend"})"), "SentencePiece",
               "not supported");
  expect_error(with_members(kPipeline + R"(, "decoder": {"type": "WordPiece"})"), "WordPiece",
               "not supported");
}

TEST(Load, DeepAndLongSequences) {
  std::string deep = R"({"type": "ByteLevel"})";
  for (int i = 0; i < 20; ++i) {
    deep.insert(0, R"({"type": "Sequence", "pretokenizers": [)").append("]}");
  }
  EXPECT_EQ(error_of(with_members("\"pre_tokenizer\": " + deep)), "loads");
  std::string open;
  for (int i = 0; i < 100000; ++i) open += R"({"type": "Sequence", "pretokenizers": [)";
  std::string close;
  for (int i = 0; i < 100000; ++i) close += "]}";
  expect_error("{\"pre_tokenizer\": " + open + close + "}", "tokenizer.json", "LIMIT");
  std::string many = R"({"type": "Digits"})";
  for (int i = 0; i < 100000; ++i) many += R"(, {"type": "Digits"})";
  expect_error(
      with_members(R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [)" + many + "]}"),
      "pretokenizers", "LIMIT");
}

TEST(Load, AddedTokens) {
  const auto added = [](std::string_view list) {
    return with_members(fmt::format(R"({}, "added_tokens": {})", kPipeline, list));
  };
  EXPECT_EQ(error_of(added(R"([{"id": 400, "content": "<x>"}])")), "loads");
  expect_error(added(R"([{"id": 3, "content": "<x>"}])"), "added_tokens", "DUP");
  expect_error(added(R"([{"id": 400, "content": "ab"}])"), "added_tokens", "DUP");
  expect_error(added(R"([{"id": 400, "content": "<x>"}, {"id": 400, "content": "<x>"}])"),
               "added_tokens", "DUP");
  expect_error(added(R"([{"id": 400, "content": ""}])"), "content", "FIELD");
  expect_error(added(R"([{"id": -1, "content": "x"}])"), "id", "FIELD");
  expect_error(added(R"([{"id": 99999999, "content": "x"}])"), "id", "FIELD");
  expect_error(added(R"([{"content": "<x>"}])"), "id", "missing");
  expect_error(added(R"([{"id": 400, "content": "<x>", "lstrip": 1}])"), "lstrip", "FIELD");
  expect_error(added(R"([3])"), "added_tokens", "FIELD");
  expect_error(added(R"({})"), "added_tokens", "FIELD");
  expect_error(added(R"([{"id": 400, "content": ")" + std::string(1 << 20, 'x') + "\"}]"),
               "content", "LIMIT");
  std::string many = "[";
  for (int i = 0; i < 140000; ++i) {
    many += fmt::format(R"({}{{"id": {}, "content": "<{}>"}})", i == 0 ? "" : ",", 300 + i, i);
  }
  expect_error(added(many + "]"), "added_tokens", "LIMIT");
}

TEST(Load, PostProcessor) {
  const auto post = [](std::string_view part) {
    return with_members(fmt::format(R"({}, "post_processor": {})", kPipeline, part));
  };
  const auto single = [&](std::string_view pieces, std::string_view specials) {
    return post(
        fmt::format(R"({{"type": "TemplateProcessing", "single": [{}], "special_tokens": {{{}}}}})",
                    pieces, specials));
  };
  const std::string text = R"({"Sequence": {"id": "A", "type_id": 0}})";
  const std::string bos = R"({"SpecialToken": {"id": "<s>", "type_id": 0}}, )";
  EXPECT_EQ(error_of(single(bos + text, R"("<s>": {"ids": [3]})")), "loads");
  expect_error(single(bos + text, ""), "post_processor.single", "INDEX");
  expect_error(single(bos + text, R"("<s>": {"ids": [70000]})"), "ids", "FIELD");
  expect_error(single(bos + text, R"("<s>": {"ids": [-1]})"), "ids", "FIELD");
  expect_error(single(bos, R"("<s>": {"ids": [3]})").replace(0, 0, ""), "tokenizer.json", "JSON");
  expect_error(single(text + ", " + text, ""), "sequence A", "not supported");
  expect_error(single(R"({"Sequence": {"id": "B"}})", ""), "sequence B", "not supported");
  expect_error(single("", ""), "without the text", "not supported");
  expect_error(single("3", ""), "single.Sequence", "missing");
  expect_error(post(R"({"type": "BertProcessing"})"), "BertProcessing", "not supported");
  expect_error(post(R"({"type": "Sequence", "processors": 3})"), "processors", "FIELD");
}

TEST(Load, NotATokenizer) {
  for (const char* json : {"", "{", "[]", "3", "null", "{}", "\xff", "{\"model\": []}",
                           "{\"model\": null}", "{\"model\": {\"type\": null}}"}) {
    EXPECT_TRUE(error_of(json).starts_with("tokenizer.json: ")) << json << ": " << error_of(json);
  }
  expect_error("[" + std::string(1'000'000, ' ') + "0", "tokenizer.json", "JSON");
}

TEST(Load, Config) {
  const std::string good = with_members(kPipeline);
  EXPECT_EQ(error_of(good, R"({"bos_token": "a", "eos_token": {"content": "ab"}})"), "loads");
  EXPECT_EQ(error_of(good, R"({"bos_token": "unheard of", "eos_token": null})"), "loads");
  EXPECT_NE(error_of(good, R"({"bos_token": 3})").find("bos_token"), std::string::npos);
  EXPECT_NE(error_of(good, R"({"eos_token": {}})").find("content"), std::string::npos);
  EXPECT_NE(error_of(good, "[").find("tokenizer_config.json"), std::string::npos);
  EXPECT_NE(error_of(good, "[]").find("tokenizer_config.json"), std::string::npos);
}

}  // namespace
}  // namespace upg::tokenizer
