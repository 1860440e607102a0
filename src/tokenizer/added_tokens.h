// Tokens that are recognised in the text before anything else looks at it: special tokens and
// those added after training.
//
// Matching is leftmost-longest and linear: an Aho-Corasick automaton of the reversed contents runs
// over the text from its end, so that the longest match is known at every place where one begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace upg::tokenizer {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // not within a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalised text
  bool special = false;      // decode() may leave it out
};

// Byte strings, found in one pass. Immutable after construction; thread-safe.
class StringMatcher {
 public:
  StringMatcher() = default;
  // None empty. Of equal strings the first counts.
  explicit StringMatcher(std::span<const std::string_view> strings);

  struct Match {
    size_t begin;
    size_t end;
    int32_t index;  // in `strings`
  };
  // Leftmost-longest, not overlapping, in order.
  std::vector<Match> find(std::string_view text) const;
  bool empty() const noexcept { return nodes_.size() == 1; }

 private:
  struct Node {
    int32_t first_child = -1;
    int32_t sibling = -1;  // the next child of the same parent
    int32_t fail = 0;      // the node of the longest proper suffix
    int32_t string = -1;   // the longest string that ends here, by way of fail links too
    uint8_t byte = 0;      // that leads here
  };
  const Node& at(int32_t node) const noexcept { return nodes_[static_cast<size_t>(node)]; }
  int32_t child(int32_t node, uint8_t byte) const noexcept;  // -1: none
  int32_t step(int32_t node, uint8_t byte) const noexcept;
  int32_t add_child(int32_t node, uint8_t byte);
  void insert(std::string_view string, int32_t index);
  void link();

  std::vector<Node> nodes_{1};
  std::vector<int32_t> root_;  // [256] children of the root, 0: none
  std::vector<size_t> lengths_;
};

// A piece of text: a token that was found in it (id >= 0), or what lies between.
struct Segment {
  std::string_view text;
  int32_t id = -1;
};

// Cuts text at the added tokens of one kind, as `tokenizers` does: a match that single_word rejects
// is text again; stripping never reaches into the token before.
class AddedTokenSplitter {
 public:
  AddedTokenSplitter() = default;
  // normalize: applied to the contents (the kind that is looked for in normalised text).
  AddedTokenSplitter(std::vector<AddedToken> tokens,
                     const std::function<std::string(std::string_view)>& normalize);
  // By id, of `vocabulary` ids: whether it is one of these.
  std::vector<bool> token_ids(int32_t vocabulary) const;
  std::vector<Segment> split(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  StringMatcher matcher_;
};

}  // namespace upg::tokenizer
