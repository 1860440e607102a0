// Holds back text that may turn out to be a stop string, so that no part of one is ever shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace upg::runtime {

class StopFilter {
 public:
  // Throws Error(kUsage) for an empty string.
  explicit StopFilter(std::vector<std::string> stops);

  // Takes the next text and returns what may be shown: all before the stop string that is
  // complete first, or all but the longest tail that a stop string begins with.
  std::string push(std::string_view text);
  // A stop string has occurred; nothing follows any more.
  bool stopped() const noexcept { return stopped_; }
  // What is held back, when no text follows: it was no stop string.
  std::string finish();

 private:
  size_t held_bytes() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace upg::runtime
