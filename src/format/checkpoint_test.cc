#include "format/checkpoint.h"

#include "format/shard_index.h"
#include "format/test_support.h"

namespace upg::format {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string shard(std::string_view tensor) {
  return container(
      "{\"" + std::string(tensor) + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
      "1234");
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { write_text(folder_ / "config.json", "{}"); }

  void write_index(std::string_view text) {
    write_text(folder_ / "model.safetensors.index.json", text);
  }
  // Two shards with a tensor each.
  void write_shards() {
    write_text(folder_ / "one.safetensors", shard("a"));
    write_text(folder_ / "two.safetensors", shard("b"));
    write_index(R"({"metadata":{"total_size":8},"weight_map":{"a":"one.safetensors",)"
                R"("b":"two.safetensors"}})");
  }
  std::string error() {
    return error_of([&] { Checkpoint checkpoint(folder_.path()); });
  }

  TempFolder folder_;
};

TEST_F(CheckpointTest, SingleFile) {
  write_text(folder_ / "model.safetensors", shard("w"));
  write_text(folder_ / "tokenizer.json", "{\"version\":\"1.0\"}");
  const Checkpoint checkpoint(folder_.path());
  EXPECT_EQ(checkpoint.text("config.json"), "{}");
  EXPECT_EQ(checkpoint.text("tokenizer.json"), "{\"version\":\"1.0\"}");
  EXPECT_EQ(checkpoint.text("chat_template.jinja"), "");
  ASSERT_NE(checkpoint.find("w"), nullptr);
  EXPECT_EQ(checkpoint.find("v"), nullptr);
  EXPECT_EQ(checkpoint.file_of(*checkpoint.find("w")), "model.safetensors");
  checkpoint.release(*checkpoint.find("w"));
  EXPECT_EQ(checkpoint.find("w")->view.data<char>()[3], '4');
}

TEST_F(CheckpointTest, Shards) {
  write_shards();
  const Checkpoint checkpoint(folder_.path());
  ASSERT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.tensors()[0]->name, "a");
  EXPECT_EQ(checkpoint.file_of(*checkpoint.tensors()[1]), "two.safetensors");
}

TEST_F(CheckpointTest, BundledModel) {
  const std::filesystem::path path = UPG_SOURCE_DIR "/models/books-12m";
  if (!looks_like_checkpoint(path)) GTEST_SKIP() << path << " is not there";
  const Checkpoint checkpoint(path);
  ASSERT_NE(checkpoint.find("model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(checkpoint.find("model.embed_tokens.weight")->view.dtype, base::DType::kBF16);
}

TEST_F(CheckpointTest, MissingThings) {
  EXPECT_THAT(error(), AllOf(HasSubstr("model.safetensors"), has_word("MISSING")));
  write_text(folder_ / "pytorch_model.bin", "x");
  EXPECT_THAT(error(), HasSubstr("convert it to safetensors"));
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_THAT(error(), AllOf(HasSubstr("config.json"), has_word("MISSING")));
  EXPECT_THAT(error_of([&] { Checkpoint checkpoint(folder_ / "none"); }, ErrorCode::kUsage),
              HasSubstr("none"));
}

TEST_F(CheckpointTest, Configs) {  // CF-01
  write_text(folder_ / "model.safetensors", shard("w"));
  write_text(folder_ / "config.json", "");
  EXPECT_THAT(error(), has_word("SIZE"));
  std::filesystem::resize_file(folder_ / "config.json", 1 << 30);
  EXPECT_THAT(error(), has_word("LIMIT"));
  std::filesystem::remove(folder_ / "config.json");
  std::filesystem::create_directory(folder_ / "config.json");
  EXPECT_THAT(error(), has_word("KIND"));
}

TEST_F(CheckpointTest, PathsOutOfTheFolder) {  // IX-01, IX-03
  const std::vector<std::string> bad = {"../../other/model.safetensors",
                                        "/etc/passwd",
                                        "sub/one.safetensors",
                                        "..",
                                        ".",
                                        "",
                                        "one.safetensors/",
                                        "a\\\\b",
                                        "a\\u0000b",
                                        "a\\nb",
                                        std::string(300, 'x')};
  for (const std::string& name : bad) {
    write_index(join("{\"weight_map\":{\"the.tensor\":\"", name, "\"}}"));
    EXPECT_THAT(error(), AllOf(has_word("PATH"), HasSubstr("the.tensor"))) << name;
  }
}

TEST_F(CheckpointTest, LinksOutOfTheFolder) {  // IX-05
  TempFolder outside;
  write_text(outside / "secret", shard("w"));
  std::filesystem::create_symlink(outside / "secret", folder_ / "model.safetensors");
  EXPECT_THAT(error(), has_word("PATH"));
  std::filesystem::remove(folder_ / "model.safetensors");
  std::filesystem::create_directory(folder_.path().parent_path() / "blobs-of-nobody");
  std::filesystem::create_symlink("../../blobs/secret", folder_ / "model.safetensors");
  EXPECT_THAT(error(), has_word("PATH"));  // not in a folder called snapshots
  std::filesystem::remove(folder_.path().parent_path() / "blobs-of-nobody");
  std::filesystem::remove(folder_ / "model.safetensors");
  write_text(folder_ / "real.safetensors", shard("w"));
  std::filesystem::create_symlink("real.safetensors", folder_ / "link.safetensors");
  std::filesystem::create_symlink("link.safetensors", folder_ / "model.safetensors");
  EXPECT_THAT(error(), has_word("PATH"));  // a link to a link
  std::filesystem::remove(folder_ / "model.safetensors");
  std::filesystem::create_symlink("real.safetensors", folder_ / "model.safetensors");
  EXPECT_EQ(Checkpoint(folder_.path()).tensors().size(), 1u);
}

TEST_F(CheckpointTest, HuggingFaceCache) {
  std::filesystem::create_directories(folder_ / "snapshots/abc");
  std::filesystem::create_directories(folder_ / "blobs");
  write_text(folder_ / "blobs/1111", "{}");
  write_text(folder_ / "blobs/2222", shard("w"));
  std::filesystem::create_symlink("../../blobs/1111", folder_ / "snapshots/abc/config.json");
  std::filesystem::create_symlink("../../blobs/2222", folder_ / "snapshots/abc/model.safetensors");
  EXPECT_NE(Checkpoint(folder_ / "snapshots/abc").find("w"), nullptr);
  std::filesystem::remove(folder_ / "blobs/2222");
  std::filesystem::create_symlink("/etc/passwd", folder_ / "blobs/2222");
  EXPECT_THAT(error_of([&] { Checkpoint checkpoint(folder_ / "snapshots/abc"); }),
              has_word("PATH"));
}

TEST_F(CheckpointTest, MissingShard) {  // IX-07
  write_shards();
  std::filesystem::remove(folder_ / "two.safetensors");
  EXPECT_THAT(error(), AllOf(HasSubstr("two.safetensors"), HasSubstr("1 tensors"),
                             HasSubstr("\"b\""), has_word("MISSING")));
}

TEST_F(CheckpointTest, TensorsInOtherShards) {  // IX-09
  write_shards();
  write_index(R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("\"a\""), HasSubstr("two.safetensors"),
                             HasSubstr("one.safetensors"), has_word("MISMATCH")));
  write_index(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors",)"
              R"("c":"one.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("\"c\""), has_word("MISSING")));
  write_index(R"({"weight_map":{"a":"one.safetensors"}})");
  write_text(folder_ / "one.safetensors",
             container(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                       R"("extra":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"));
  EXPECT_THAT(error(), AllOf(HasSubstr("\"extra\""), has_word("MISMATCH")));
}

TEST_F(CheckpointTest, TensorInTwoShards) {
  write_shards();
  write_text(folder_ / "two.safetensors",
             container(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                       R"("b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"));
  EXPECT_THAT(error(), AllOf(HasSubstr("\"a\""), HasSubstr("one.safetensors"), has_word("DUP")));
}

struct IndexCase {
  const char* name;
  const char* word;
  std::string text;
};

class MalformedIndex : public testing::TestWithParam<IndexCase> {};

TEST_P(MalformedIndex, IsRefusedByItsWord) {
  EXPECT_THAT(error_of([] { parse_shard_index(GetParam().text, "index.json"); }),
              AllOf(testing::StartsWith("index.json: "), has_word(GetParam().word)));
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedIndex,
    testing::Values(
        IndexCase{"IX11_duplicate", "DUP", R"({"weight_map":{"a":"x","a":"y"}})"},
        IndexCase{"IX11_two_maps", "DUP", R"({"weight_map":{"a":"x"},"weight_map":{"a":"x"}})"},
        IndexCase{"IX13_missing", "FIELD", R"({"metadata":{}})"},
        IndexCase{"IX13_empty", "FIELD", R"({"weight_map":{}})"},
        IndexCase{"IX13_array", "FIELD", R"({"weight_map":[]})"},
        IndexCase{"IX13_null", "FIELD", R"({"weight_map":null})"},
        IndexCase{"IX13_number", "FIELD", R"({"weight_map":{"a":1}})"},
        IndexCase{"IX13_list_value", "FIELD", R"({"weight_map":{"a":["x"]}})"},
        IndexCase{"IX14_not_an_object", "FIELD", "[]"}, IndexCase{"IX14_empty_text", "FIELD", ""},
        IndexCase{"IX14_cut", "JSON", R"({"weight_map":{"a":"x")"},
        IndexCase{"IX14_more_text", "JSON", R"({"weight_map":{"a":"x"}} x)"},
        IndexCase{"IX14_bad_literal", "JSON", R"({"metadata":nul,"weight_map":{"a":"x"}})"},
        IndexCase{"IX14_bad_nested", "JSON", R"({"metadata":{"a":[1,]},"weight_map":{"a":"x"}})"},
        IndexCase{"IX14_utf8", "UTF8", "{\"weight_map\":{\"\xff\":\"x\"}}"},
        IndexCase{"IX14_deep", "LIMIT",
                  join(R"({"metadata":)", std::string(100'000, '['), std::string(100'000, ']'),
                       R"(,"weight_map":{"a":"x"}})")}),
    [](const auto& row) { return row.param.name; });

TEST(ShardIndexTest, NamesAreBytes) {  // IX-15
  const ShardIndex index = parse_shard_index(
      "\n{\"weight_map\":{\"A\":\"x\",\"a\":\"y\",\"\\u00e9\":\"x\","
      "\"e\\u0301\":\"x\"},\"other\":[{\"deep\":[1.5e3,-2,true]}]}\n",
      "index.json");
  EXPECT_EQ(index.size(), 4u);
  EXPECT_EQ(index.at("a"), "y");
}

TEST(ShardIndexTest, TooManyShards) {
  std::string text = "{\"weight_map\":{";
  for (size_t i = 0; i <= kMaxShards; ++i) {
    const std::string number = std::to_string(i);
    text += join("\"", number, "\":\"", number, "\",");
  }
  text.back() = '}';
  EXPECT_THAT(error_of([&] { parse_shard_index(text + "}", "index.json"); }), has_word("LIMIT"));
}

}  // namespace
}  // namespace upg::format
