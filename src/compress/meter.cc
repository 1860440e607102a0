#include "compress/meter.h"

#include <algorithm>
#include <utility>

#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr double kPatience = 3;         // seconds before costs are asked for
constexpr double kEnoughToTell = 0.02;  // of the work, before its own speed says more than costs

}  // namespace

Meter::Meter(const ProgressCallback& callback, int64_t tensors, uint64_t elements, Costs costs)
    : callback_(callback), ask_(std::move(costs)), start_(Clock::now()), last_(start_ - kInterval) {
  progress_.tensors_total = tensors;
  progress_.elements_total = elements;
}

void Meter::begin(std::string_view tensor) {
  progress_.tensor = tensor;
  if (callback_) report();
}

void Meter::prepare(double share) {
  prepared_ = std::max(prepared_, share);
  report_in_time();
}

void Meter::tick(uint64_t done, uint64_t elements) {
  elements_ = std::max(elements_, done);
  if (elements > 0) {
    prepared_ = 1;
    coded_ = static_cast<double>(elements_) / static_cast<double>(elements);
  }
  report_in_time();
}

void Meter::report_in_time() {
  if (callback_ && Clock::now() - last_ >= kInterval) report();
}

void Meter::end(uint64_t elements, uint64_t bytes, double relative_error) {
  const auto index = static_cast<size_t>(progress_.tensors_done);
  if (index < costs_.size()) finished_cost_ += costs_[index].total();
  finished_elements_ += elements;
  elements_ = 0;
  prepared_ = 0;
  coded_ = 0;
  progress_.tensors_done += 1;
  progress_.bytes_written += bytes;
  progress_.relative_error = relative_error;
  progress_.bits_per_weight = finished_elements_ == 0
                                  ? 0
                                  : 8.0 * static_cast<double>(progress_.bytes_written) /
                                        static_cast<double>(finished_elements_);
  if (callback_ && progress_.tensors_done == progress_.tensors_total) report();
}

double Meter::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void Meter::ask_costs() {
  costs_ = std::exchange(ask_, {})();
  for (size_t i = 0; i < costs_.size(); ++i) {
    total_cost_ += costs_[i].total();
    if (i < static_cast<size_t>(progress_.tensors_done)) finished_cost_ += costs_[i].total();
  }
}

double Meter::cost_done() const {
  const auto index = static_cast<size_t>(progress_.tensors_done);
  if (index >= costs_.size()) return finished_cost_;
  return finished_cost_ + prepared_ * costs_[index].before() + coded_ * costs_[index].coding;
}

void Meter::report() {
  const double passed = seconds();
  if (ask_ && passed > kPatience) ask_costs();
  last_ = Clock::now();
  progress_.elements_done = finished_elements_ + elements_;
  const auto done = static_cast<double>(progress_.elements_done);
  const auto total = static_cast<double>(progress_.elements_total);
  progress_.elements_per_second = passed > 0 ? done / passed : 0;
  progress_.share = total > 0 ? done / total : 1;
  progress_.seconds_left =
      progress_.elements_per_second > 0 ? (total - done) / progress_.elements_per_second : 0;
  if (total_cost_ > 0) {
    const double left = std::max(0.0, total_cost_ - cost_done());
    progress_.share = cost_done() / total_cost_;
    const bool told = progress_.share > kEnoughToTell;
    progress_.seconds_left = left * (told ? passed / cost_done() : 1);
  }
  if (!callback_(progress_)) throw Error(ErrorCode::kCancelled, "stopped on request");
}

}  // namespace upg::compression
