#include "cli/tensor_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <tuple>

#include "base/text.h"

namespace upg::cli {
namespace {

struct Group {
  TensorLine first;
  std::string name;
  int count = 0;
  uint64_t bytes = 0;
  double error = 0;  // sums
  double loss = 0;
};

// "model.layers.*.mlp" of "model.layers.17.mlp".
std::string without_layer(std::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool digit = std::isdigit(static_cast<unsigned char>(name[i])) != 0;
    if (!digit || i == 0 || name[i - 1] != '.') {
      result += name[i];
      continue;
    }
    size_t end = i;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
    const bool whole = end == name.size() || name[end] == '.';
    result += whole ? std::string("*") : std::string(name.substr(i, end - i));
    i = end - 1;
  }
  return base::printable(result);
}

std::vector<Group> group(const std::vector<TensorLine>& tensors) {
  using Key = std::tuple<std::string, std::string_view, int64_t, int64_t, bool>;
  std::map<Key, size_t> index;
  std::vector<Group> groups;
  for (const TensorLine& tensor : tensors) {
    std::string name = without_layer(tensor.name);
    const Key key{name, tensor.codec, tensor.rows, tensor.cols, tensor.rotated};
    const auto [found, fresh] = index.try_emplace(key, groups.size());
    if (fresh) groups.push_back({tensor, std::move(name), 0, 0, 0, 0});
    groups[found->second].count += 1;
    groups[found->second].bytes += tensor.bytes;
    groups[found->second].error += tensor.relative_error;
    groups[found->second].loss += tensor.loss;
  }
  return groups;
}

std::string line_of(const Group& group, size_t width) {
  const TensorLine& tensor = group.first;
  const double weights =
      static_cast<double>(tensor.rows) * static_cast<double>(tensor.cols) * group.count;
  const double bits = weights > 0 ? 8.0 * static_cast<double>(group.bytes) / weights : 0;
  std::string line =
      fmt::format("{:<{}} {:>5} {:>16} {:<14} {:>7.3f} {:>10}", group.name, width, group.count,
                  fmt::format("{} x {}", tensor.rows, tensor.cols),
                  fmt::format("{}{}", tensor.codec, tensor.rotated ? " rotated" : ""), bits,
                  base::format_bytes(group.bytes));
  if (group.error > 0) line += fmt::format(" {:>8.5f}", group.error / group.count);
  if (group.loss > 0) line += fmt::format(" {:>8.5f}", group.loss / group.count);
  return line + "\n";
}

}  // namespace

std::string tensor_table(const std::vector<TensorLine>& tensors) {
  const std::vector<Group> groups = group(tensors);
  size_t width = 6;
  for (const Group& one : groups) width = std::max(width, one.name.size());
  std::string table = fmt::format("{:<{}} {:>5} {:>16} {:<14} {:>7} {:>10}", "tensor", width,
                                  "count", "rows x columns", "codec", "bits", "size");
  const auto any = [&groups](double Group::*sum) {
    return std::any_of(groups.begin(), groups.end(), [sum](const Group& g) { return g.*sum > 0; });
  };
  if (any(&Group::error)) table += fmt::format(" {:>8}", "error");
  if (any(&Group::loss)) table += fmt::format(" {:>8}", "loss");
  table += "\n";
  for (const Group& one : groups) table += line_of(one, width);
  return table;
}

}  // namespace upg::cli
