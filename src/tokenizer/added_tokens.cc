#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tokenizer/unicode.h"

namespace upg::tokenizer {
namespace {

bool is_inside_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word(char_before(text, begin).code)) ||
         (end < text.size() && is_word(char_at(text, end).code));
}

size_t skip_spaces_back(std::string_view text, size_t at, size_t floor) {
  while (at > floor) {
    const Char c = char_before(text, at);
    if (!c.is(kSpace)) break;
    at -= c.length;
  }
  return at;
}

size_t skip_spaces(std::string_view text, size_t at) {
  for (Char c = char_at(text, at); c.is(kSpace); c = char_at(text, at)) at += c.length;
  return at;
}

}  // namespace

StringMatcher::StringMatcher(std::span<const std::string_view> strings) : root_(256, 0) {
  for (const std::string_view string : strings) {
    insert(string, static_cast<int32_t>(lengths_.size()));
    lengths_.push_back(string.size());
  }
  for (int32_t node = nodes_[0].first_child; node >= 0; node = at(node).sibling) {
    root_[at(node).byte] = node;
  }
  link();
}

void StringMatcher::insert(std::string_view string, int32_t index) {
  UPG_CHECK(!string.empty());
  int32_t node = 0;
  for (size_t i = string.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(string[i]);
    const int32_t next = child(node, byte);
    node = next >= 0 ? next : add_child(node, byte);
  }
  if (at(node).string < 0) nodes_[static_cast<size_t>(node)].string = index;
}

int32_t StringMatcher::add_child(int32_t node, uint8_t byte) {
  const auto child = static_cast<int32_t>(nodes_.size());
  Node made;
  made.byte = byte;
  made.sibling = std::exchange(nodes_[static_cast<size_t>(node)].first_child, child);
  nodes_.push_back(made);
  return child;
}

// Fail links breadth first: a node's is known when its children ask for it.
void StringMatcher::link() {
  std::vector<int32_t> queue{0};
  for (size_t done = 0; done < queue.size(); ++done) {
    const int32_t parent = queue[done];
    for (int32_t node = at(parent).first_child; node >= 0; node = at(node).sibling) {
      Node& child = nodes_[static_cast<size_t>(node)];
      child.fail = parent == 0 ? 0 : step(at(parent).fail, child.byte);
      if (child.string < 0) child.string = at(child.fail).string;
      queue.push_back(node);
    }
  }
}

int32_t StringMatcher::child(int32_t node, uint8_t byte) const noexcept {
  int32_t child = at(node).first_child;
  while (child >= 0 && at(child).byte != byte) child = at(child).sibling;
  return child;
}

int32_t StringMatcher::step(int32_t node, uint8_t byte) const noexcept {
  while (node != 0) {
    const int32_t next = child(node, byte);
    if (next >= 0) return next;
    node = at(node).fail;
  }
  return root_[byte];
}

std::vector<StringMatcher::Match> StringMatcher::find(std::string_view text) const {
  std::vector<Match> found;  // the longest one of every place, from the end of the text
  if (empty()) return found;
  int32_t node = 0;
  for (size_t place = text.size(); place-- > 0;) {
    node = step(node, static_cast<uint8_t>(text[place]));
    const int32_t string = at(node).string;
    if (string >= 0)
      found.push_back({place, place + lengths_[static_cast<size_t>(string)], string});
  }
  std::reverse(found.begin(), found.end());
  size_t kept = 0;
  size_t end = 0;
  for (const Match& match : found) {
    if (match.begin < end) continue;
    end = match.end;
    found[kept++] = match;
  }
  found.resize(kept);
  return found;
}

AddedTokenSplitter::AddedTokenSplitter(
    std::vector<AddedToken> tokens, const std::function<std::string(std::string_view)>& normalize)
    : tokens_(std::move(tokens)) {
  // `tokenizers` lists special tokens first; that decides between contents that become equal.
  std::stable_partition(tokens_.begin(), tokens_.end(),
                        [](const AddedToken& token) { return token.special; });
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens_) contents.push_back(normalize(token.content));
  matcher_ = StringMatcher(std::vector<std::string_view>(contents.begin(), contents.end()));
}

std::vector<bool> AddedTokenSplitter::token_ids(int32_t vocabulary) const {
  std::vector<bool> ids(static_cast<size_t>(vocabulary));
  for (const AddedToken& token : tokens_) ids[static_cast<size_t>(token.id)] = true;
  return ids;
}

std::vector<Segment> AddedTokenSplitter::split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t done = 0;
  size_t spaces_begin = 0;  // the white space stripped last, known to end at spaces_end
  size_t spaces_end = 0;
  const auto add_text = [&](size_t end) {
    if (done < end) segments.push_back({text.substr(done, end - done), -1});
  };
  for (const StringMatcher::Match& match : matcher_.find(text)) {
    const AddedToken& token = tokens_[static_cast<size_t>(match.index)];
    if (token.single_word && is_inside_word(text, match.begin, match.end)) continue;
    size_t begin = match.begin;
    if (token.lstrip) begin = std::max(skip_spaces_back(text, begin, std::min(done, begin)), done);
    add_text(begin);
    segments.push_back({{}, token.id});
    done = match.end;
    if (!token.rstrip) continue;
    if (done < spaces_begin || done > spaces_end) {
      spaces_begin = done;
      spaces_end = skip_spaces(text, done);
    }
    done = spaces_end;
  }
  if (done != text.size()) segments.push_back({text.substr(done), -1});
  return segments;
}

}  // namespace upg::tokenizer
