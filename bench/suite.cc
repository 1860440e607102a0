#include "suite.h"

#include <algorithm>

#include "kernels/backend.h"

namespace upg::bench {
namespace {

double slowdown_share = 0;

std::vector<std::function<void()>>& drops() {
  static std::vector<std::function<void()>> all;
  return all;
}

}  // namespace

void forget() {
  for (const auto& drop : drops()) drop();
}

void on_forget(std::function<void()> drop) { drops().push_back(std::move(drop)); }

void set_slowdown(double share) { slowdown_share = share; }

double slowdown() { return slowdown_share; }

std::string best_cpu() {
  kernels::BackendOptions options;
  options.device = "cpu";
  return std::string(kernels::select_backend(options).name);
}

bool has_device() {
  const auto rows = kernels::all_backends();
  return std::any_of(rows.begin(), rows.end(),
                     [](const auto& row) { return row.device == "cuda" && row.supported(); });
}

}  // namespace upg::bench
