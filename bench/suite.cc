#include "suite.h"

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

}  // namespace upg::bench
