#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/checked.h"
#include "base/text.h"
#include "base/threads.h"
#include "format/upg_file.h"
#include "format/upg_metadata.h"
#include "upg/error.h"

namespace upg::format {
namespace {

// Fewer bytes than this a weight is no codec of ours: nobody makes terabytes from a kilobyte.
constexpr int64_t kMaxWeightsPerByte = 65536;
constexpr int64_t kRotationBlock = 128;

std::string tensor_text(const TensorEntry& tensor) {
  return fmt::format("tensor \"{}\"", base::printable(tensor.name));
}

// Checks the records against the tensors: what a codec's bind() cannot see.
class RecordChecker {
 public:
  RecordChecker(const SafetensorsFile& container, std::string_view separator)
      : container_(container), file_(container.path().native()), separator_(separator) {
    for (const TensorEntry& tensor : container.tensors())
      sizes_[tensor.name] = tensor.view.bytes.size();
  }

  void check(const MatrixRecord& matrix) const {
    const uint64_t bytes = part_bytes(matrix);
    const std::string name = fmt::format("matrix \"{}\"", base::printable(matrix.name));
    if (bytes == 0) {
      fail_upg(file_, "MISSING",
               fmt::format("{}: no data in tensors \"{}\" or \"{}{}...\"", name,
                           base::printable(matrix.stem), base::printable(matrix.stem), separator_));
    }
    const int64_t weights = base::checked_mul(matrix.rows, matrix.cols, "rows * cols");
    if (weights / kMaxWeightsPerByte > static_cast<int64_t>(bytes)) {
      fail_upg(file_, "MISMATCH",
               fmt::format("{}: {} x {} weights in {} bytes, allowed are {} a byte", name,
                           matrix.rows, matrix.cols, bytes, kMaxWeightsPerByte));
    }
    if (!matrix.signs.empty()) check_signs(matrix, name);
  }

 private:
  uint64_t part_bytes(const MatrixRecord& matrix) const {
    const auto whole = sizes_.find(matrix.stem);
    uint64_t bytes = whole == sizes_.end() ? 0 : whole->second;
    const std::string prefix = matrix.stem + std::string(separator_);
    for (auto i = sizes_.lower_bound(prefix); i != sizes_.end() && i->first.starts_with(prefix);
         ++i) {
      if (i->first.find('.', prefix.size()) == std::string_view::npos) bytes += i->second;
    }
    return bytes;
  }

  void check_signs(const MatrixRecord& matrix, const std::string& name) const {
    const TensorEntry* signs = container_.find(matrix.signs);
    if (signs == nullptr) {
      fail_upg(file_, "MISSING",
               fmt::format("{}: params.signs names \"{}\", which is no tensor", name,
                           base::printable(matrix.signs)));
    }
    const int64_t bytes = base::round_up(matrix.cols, kRotationBlock) / 8;
    if (signs->view.dtype != base::DType::kU8 ||
        static_cast<int64_t>(signs->view.bytes.size()) != bytes) {
      fail_upg(file_, "SHAPE",
               fmt::format("{}: signs of {} columns: found {} {}, allowed is U8 [{}]",
                           tensor_text(*signs), matrix.cols, base::name_of(signs->view.dtype),
                           base::shape_text(signs->view.shape), bytes));
    }
  }

  const SafetensorsFile& container_;
  std::string file_;
  std::string_view separator_;
  std::map<std::string_view, uint64_t> sizes_;
};

bool is_aligned(const TensorEntry& tensor) {
  return tensor.offset % base::size_of(tensor.view.dtype) == 0;
}

// The checksums that the tensors have now.
std::vector<uint64_t> hash_tensors(const SafetensorsFile& container,
                                   const std::function<void(uint64_t, uint64_t)>& progress) {
  const auto tensors = container.tensors();
  std::vector<uint64_t> found(tensors.size());
  uint64_t done = 0;
  uint64_t total = 0;
  for (const TensorEntry& tensor : tensors) total += tensor.view.bytes.size();
  std::mutex mutex;  // of done, stopped and the calls of progress
  bool stopped = false;
  base::ThreadTeam team(base::default_threads());
  team.for_each(static_cast<int64_t>(tensors.size()), [&](int64_t i, int) {
    const auto index = static_cast<size_t>(i);
    {
      const std::lock_guard lock(mutex);
      if (stopped) return;
    }
    const auto bytes = tensors[index].view.bytes;
    found[index] = base::xxh3(bytes);
    container.file().release(bytes);
    const std::lock_guard lock(mutex);
    done += bytes.size();
    if (stopped) return;
    stopped = true;  // unless progress returns
    if (progress) progress(done, total);
    stopped = false;
  });
  return found;
}

bool is_text_name(std::string_view name) {
  return name.ends_with(".json") || name.ends_with(".jinja");
}

}  // namespace

UpgFile::UpgFile(const std::filesystem::path& path) : UpgFile(base::MappedFile(path)) {}

UpgFile::UpgFile(base::MappedFile mapped)
    : container_(std::move(mapped), SafetensorsLimits{kUpgMetadataBytes}) {
  const std::string file = container_.path().native();
  const Metadata& metadata = container_.metadata();
  const int major = major_version(metadata, file);
  separator_ = major == 2 ? "_" : ".";
  const bool listed = metadata.contains("matrices");
  if (major == 3 && !listed) fail_upg(file, "FIELD", "matrices is missing");
  if (listed) check_header_sum();
  info_ = parse_info(metadata, file);
  if (!listed) info_.matrices = version2_matrices(container_);
  if (major == 3) check_alignment();
  if (major == 2) copy_misaligned();
  const RecordChecker checker(container_, separator_);
  for (const MatrixRecord& matrix : info_.matrices) checker.check(matrix);
  for (size_t i = 0; i < info_.matrices.size(); ++i) by_name_.emplace(info_.matrices[i].name, i);
  check_texts();
  if (listed) check_checksums();
}

void UpgFile::check_header_sum() const {
  const std::string file = container_.path().native();
  const HeaderChecksum sum = header_checksum(container_.header_text(), file);
  if (sum.found == sum.computed) return;
  fail_upg(file, "SUM",
           fmt::format("header_checksum: found {}, the header's is {}", base::printable(sum.found),
                       sum.computed));
}

void UpgFile::check_alignment() const {
  for (const TensorEntry& tensor : container_.tensors()) {
    if (is_aligned(tensor)) continue;
    fail_upg(container_.path().native(), "ALIGN",
             fmt::format("{}: {} at byte {}, allowed are multiples of {}", tensor_text(tensor),
                         base::name_of(tensor.view.dtype), tensor.offset,
                         base::size_of(tensor.view.dtype)));
  }
}

// Version 2 promises no alignment, the kernels need it.
void UpgFile::copy_misaligned() {
  for (const TensorEntry& tensor : container_.tensors()) {
    if (is_aligned(tensor)) continue;
    AlignedCopy& copy = copies_[tensor.name];
    copy.bytes.assign(tensor.view.bytes.begin(), tensor.view.bytes.end());
    copy.view = tensor.view;
    copy.view.bytes = copy.bytes;
  }
}

void UpgFile::check_texts() const {
  for (const TensorEntry& tensor : container_.tensors()) {
    const bool is_text = tensor.view.dtype == base::DType::kU8 && tensor.view.shape.size() == 1;
    if (!is_text_name(tensor.name) || is_text) continue;
    fail_upg(container_.path().native(), "SHAPE",
             fmt::format("{}: found {} {}, allowed is U8 [bytes]", tensor_text(tensor),
                         base::name_of(tensor.view.dtype), base::shape_text(tensor.view.shape)));
  }
}

// As many as tensors, and one for each: so each for one.
void UpgFile::check_checksums() {
  const std::string file = container_.path().native();
  const Checksums sums = parse_checksums(field(container_.metadata(), "checksums"), file);
  for (const TensorEntry& tensor : container_.tensors()) {
    const auto found = sums.find(tensor.name);
    if (found == sums.end()) {
      fail_upg(file, "SUM", fmt::format("{} has no checksum", tensor_text(tensor)));
    }
    checksums_.push_back(found->second);
  }
  if (sums.size() == checksums_.size()) return;
  for (const auto& [name, sum] : sums) {
    if (container_.find(name) != nullptr) continue;
    fail_upg(file, "SUM",
             fmt::format("a checksum for \"{}\", which is no tensor", base::printable(name)));
  }
}

const MatrixRecord* UpgFile::find_matrix(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &info_.matrices[found->second];
}

const base::TensorView* UpgFile::find_tensor(std::string_view name) const noexcept {
  const auto copy = copies_.find(name);
  if (copy != copies_.end()) return &copy->second.view;
  const TensorEntry* tensor = container_.find(name);
  return tensor == nullptr ? nullptr : &tensor->view;
}

const base::TensorView* UpgFile::part(const MatrixRecord& matrix,
                                      std::string_view suffix) const noexcept {
  if (suffix.empty()) return find_tensor(matrix.stem);
  return find_tensor(fmt::format("{}{}{}", matrix.stem, separator_, suffix));
}

std::string_view UpgFile::text(std::string_view name) const noexcept {
  const TensorEntry* tensor = container_.find(name);
  if (tensor == nullptr || tensor->view.dtype != base::DType::kU8) return {};
  return {reinterpret_cast<const char*>(tensor->view.bytes.data()), tensor->view.bytes.size()};
}

std::vector<std::string> UpgFile::verify(
    const std::function<void(uint64_t, uint64_t)>& progress) const {
  std::vector<std::string> errors;
  if (!has_checksums()) return errors;
  const HeaderChecksum sum = header_checksum(container_.header_text(), container_.path().native());
  if (sum.found != sum.computed) {
    errors.push_back(fmt::format("header: checksum found {}, allowed is {} (SUM)", sum.computed,
                                 base::printable(sum.found)));
  }
  const auto tensors = container_.tensors();
  const std::vector<uint64_t> found = hash_tensors(container_, progress);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (found[i] == checksums_[i]) continue;
    errors.push_back(fmt::format("{}: checksum found {}, allowed is {} (SUM)",
                                 base::printable(tensors[i].name), base::hex64(found[i]),
                                 base::hex64(checksums_[i])));
  }
  return errors;
}

bool looks_like_upg(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace upg::format
