#include "runtime/stop_filter.h"

#include <algorithm>
#include <utility>

#include "upg/error.h"

namespace upg::runtime {

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::any_of(stops_.begin(), stops_.end(), [](const auto& stop) { return stop.empty(); })) {
    throw Error(ErrorCode::kUsage, "stop: found an empty string, allowed are strings of text");
  }
}

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  // The one that is complete first, however the text is cut; of two that end together the longer.
  size_t begin = held_.size() - held_bytes();
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at + stop.size() > end) continue;
    begin = at + stop.size() < end ? at : std::min(begin, at);
    end = at + stop.size();
  }
  stopped_ = end != std::string::npos;
  std::string result = held_.substr(0, begin);
  held_.erase(0, stopped_ ? held_.size() : begin);
  return result;
}

std::string StopFilter::finish() { return std::exchange(held_, {}); }

// The longest tail of held_ that a stop string begins with.
size_t StopFilter::held_bytes() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace upg::runtime
