#include "compress/bit_plan.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace upg::compression {
namespace {

// Options by size, without those that another one beats in both.
std::vector<size_t> useful_options(const BitItem& item) {
  std::vector<size_t> by_size(item.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    return item[a].size != item[b].size ? item[a].size < item[b].size : item[a].loss < item[b].loss;
  });
  std::vector<size_t> useful;
  for (const size_t i : by_size) {
    if (useful.empty() || item[i].loss < item[useful.back()].loss) useful.push_back(i);
  }
  return useful;
}

// Loss saved per unit of size when going from one option to a larger one.
double slope(const BitItem& item, size_t from, size_t to) {
  return (item[from].loss - item[to].loss) / (item[to].size - item[from].size);
}

// Of the useful options those on the lower convex hull: slopes fall along it.
std::vector<size_t> convex_hull(const BitItem& item) {
  std::vector<size_t> hull;
  for (const size_t i : useful_options(item)) {
    while (hull.size() >= 2 &&
           slope(item, hull.back(), i) >= slope(item, hull[hull.size() - 2], hull.back())) {
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

struct Upgrade {
  size_t item;
  size_t to;
  double size;   // more
  double slope;  // loss saved per unit of it
};

// All steps along all hulls, best first; those of one item stay in order, since its slopes fall.
std::vector<Upgrade> upgrades_of(std::span<const BitItem> items,
                                 std::span<const std::vector<size_t>> hulls) {
  std::vector<Upgrade> upgrades;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t k = 1; k < hulls[i].size(); ++k) {
      const size_t from = hulls[i][k - 1];
      const size_t to = hulls[i][k];
      upgrades.push_back(
          {i, to, items[i][to].size - items[i][from].size, slope(items[i], from, to)});
    }
  }
  std::stable_sort(upgrades.begin(), upgrades.end(),
                   [](const Upgrade& a, const Upgrade& b) { return a.slope > b.slope; });
  return upgrades;
}

double total(std::span<const BitItem> items, bool most) {
  double sum = 0;
  for (const BitItem& item : items) {
    const auto [least, largest] =
        std::minmax_element(item.begin(), item.end(),
                            [](const BitOption& a, const BitOption& b) { return a.size < b.size; });
    sum += most ? largest->size : least->size;
  }
  return sum;
}

}  // namespace

double least_size(std::span<const BitItem> items) { return total(items, false); }
double most_size(std::span<const BitItem> items) { return total(items, true); }

std::optional<std::vector<size_t>> choose_bits(std::span<const BitItem> items, double budget) {
  std::vector<std::vector<size_t>> hulls;
  std::vector<size_t> chosen;
  double left = budget;
  for (const BitItem& item : items) {
    UPG_CHECK(!item.empty());
    hulls.push_back(convex_hull(item));
    chosen.push_back(hulls.back().front());
    left -= item[chosen.back()].size;
  }
  if (left < 0) return std::nullopt;
  std::vector<bool> stopped(items.size(), false);  // a step of it did not fit: nor may later ones
  for (const Upgrade& upgrade : upgrades_of(items, hulls)) {
    if (stopped[upgrade.item]) continue;
    if (upgrade.size > left) {
      stopped[upgrade.item] = true;
      continue;
    }
    chosen[upgrade.item] = upgrade.to;
    left -= upgrade.size;
  }
  return chosen;
}

}  // namespace upg::compression
