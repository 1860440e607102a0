#include "compress/meter.h"

#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr std::chrono::milliseconds kInterval{200};

}  // namespace

Meter::Meter(const ProgressCallback& callback, int64_t tensors, uint64_t elements)
    : callback_(callback), start_(Clock::now()), last_(start_ - kInterval) {
  progress_.tensors_total = tensors;
  progress_.elements_total = elements;
}

void Meter::begin(std::string_view tensor) {
  progress_.tensor = tensor;
  if (callback_) report(finished_elements_);
}

void Meter::tick(uint64_t done) {
  if (!callback_ || Clock::now() - last_ < kInterval) return;
  report(finished_elements_ + done);
}

void Meter::end(uint64_t elements, uint64_t bytes, double relative_error) {
  finished_elements_ += elements;
  progress_.tensors_done += 1;
  progress_.bytes_written += bytes;
  progress_.relative_error = relative_error;
  progress_.bits_per_weight = finished_elements_ == 0
                                  ? 0
                                  : 8.0 * static_cast<double>(progress_.bytes_written) /
                                        static_cast<double>(finished_elements_);
  if (callback_ && progress_.tensors_done == progress_.tensors_total) report(finished_elements_);
}

double Meter::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void Meter::report(uint64_t elements_done) {
  last_ = Clock::now();
  progress_.elements_done = elements_done;
  const double passed = seconds();
  progress_.elements_per_second = passed > 0 ? static_cast<double>(elements_done) / passed : 0;
  const auto left = static_cast<double>(progress_.elements_total - elements_done);
  progress_.seconds_left =
      progress_.elements_per_second > 0 ? left / progress_.elements_per_second : 0;
  if (!callback_(progress_)) throw Error(ErrorCode::kCancelled, "stopped on request");
}

}  // namespace upg::compression
