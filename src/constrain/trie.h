// A trie over bytes or code points. Nodes are numbered so that children come behind their parents:
// walking the numbers backwards meets every child before its parent, without recursion.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

namespace upg::constrain {

class Trie {
 public:
  struct Node {
    std::map<char32_t, size_t> children;
    bool ends = false;  // a text ends here
  };

  template <typename Text>
  void add(const Text& text) {
    size_t at = 0;
    for (const auto unit : text) {
      const auto [child, is_new] =
          nodes_[at].children.try_emplace(static_cast<char32_t>(unit), nodes_.size());
      at = child->second;
      if (is_new) nodes_.emplace_back();
    }
    nodes_[at].ends = true;
  }

  const std::vector<Node>& nodes() const { return nodes_; }  // the root is the first

 private:
  std::vector<Node> nodes_{1};
};

}  // namespace upg::constrain
