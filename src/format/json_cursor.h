// A pull reader for the JSON that describes weights: safetensors headers and shard indexes.
//
// base/json.h builds a tree, which costs many bytes a byte. These texts may be 100 MB and hostile,
// so this reads them in one pass, keeps nothing, and knows the byte offset of every value for
// messages. The caller's own nesting bounds the depth. Strict: RFC 8259, no duplicates are noticed
// here (the callers do that), the text must be valid UTF-8 already.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace upg::format {

class JsonCursor {
 public:
  // `origin`: the offset of text[0] in the file, for messages.
  JsonCursor(std::string_view text, std::string_view file, uint64_t origin);

  // What the messages put before the field: `tensor "x": `.
  void set_context(std::string context) { context_ = std::move(context); }

  // Each reads one value, or throws Error(kInvalidData) with `code` when the value is of another
  // kind. `what` is the field's name.
  template <class Member>  // member(std::string key, uint64_t offset) must read the value
  void object(std::string_view what, std::string_view code, Member&& member);
  template <class Item>  // item() must read the value
  void array(std::string_view what, std::string_view code, Item&& item);
  std::string string(std::string_view what, std::string_view code, size_t max_bytes);
  // Digits only: 2.0, 2e0, 02 and -2 are refused.
  uint64_t integer(std::string_view what, std::string_view code, uint64_t max);
  void skip_value();  // at most kMaxDepth levels

  uint64_t offset();        // of the next token, in the file
  std::string_view rest();  // what has not been read
  [[noreturn]] void fail(std::string_view code, std::string_view message) const;
  [[noreturn]] void fail_at(uint64_t offset, std::string_view code, std::string_view message) const;

  static constexpr int kMaxDepth = 8;
  static constexpr size_t kMaxKeyBytes = 2048;

 private:
  char peek();  // the next character that is no white space; NUL at the end
  bool take_if(char c);
  void expect(char c);
  void open(char c, std::string_view what, std::string_view code, std::string_view allowed);
  std::string string_body(size_t max_bytes);
  uint32_t hex4();
  void unescape(std::string& out);
  std::string_view scalar_token() const;
  std::string describe();
  void check_depth();
  void skip_scalar();
  void skip_string();
  [[noreturn]] void fail_kind(std::string_view what, std::string_view code,
                              std::string_view allowed);

  std::string_view text_;
  size_t at_ = 0;
  uint64_t origin_;
  std::string file_;
  std::string context_;
};

template <class Member>
void JsonCursor::object(std::string_view what, std::string_view code, Member&& member) {
  open('{', what, code, "an object");
  if (take_if('}')) return;
  do {
    if (peek() != '"') fail("JSON", "a key in quotes is missing");
    const uint64_t key_offset = offset();
    std::string key = string_body(kMaxKeyBytes);
    expect(':');
    member(std::move(key), key_offset);
  } while (take_if(','));
  expect('}');
}

template <class Item>
void JsonCursor::array(std::string_view what, std::string_view code, Item&& item) {
  open('[', what, code, "an array");
  if (take_if(']')) return;
  do {
    item();
  } while (take_if(','));
  expect(']');
}

}  // namespace upg::format
