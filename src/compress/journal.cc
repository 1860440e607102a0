#include "compress/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "compress/journal_entry.h"
#include "upg/error.h"

namespace upg::compression {
namespace {

constexpr std::string_view kJob = "job.json";
constexpr std::string_view kPlan = "plan.json";
constexpr std::string_view kMatrix = ".matrix";
constexpr std::string_view kStreams = "streams-";
constexpr std::string_view kTemporary = ".tmp-";
constexpr size_t kMaxJobBytes = size_t{16} << 20;
constexpr size_t kMostDifferences = 3;  // in a message

std::string quoted(const std::filesystem::path& path) { return base::printable(path.native()); }

struct Contents {
  std::vector<std::filesystem::path> files;
  bool has_job = false;
  int matrices = 0;
};

// Throws when something lies there that no journal has.
Contents contents_of(const std::filesystem::path& folder) {
  Contents contents;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().native();
    const bool is_matrix = name.ends_with(kMatrix);
    contents.has_job = contents.has_job || name == kJob;
    contents.matrices += is_matrix ? 1 : 0;
    contents.files.push_back(it->path());
    if (is_matrix || name == kJob || name == kPlan || name.starts_with(kStreams) ||
        name.find(kTemporary) != std::string::npos)
      continue;
    throw Error(ErrorCode::kUsage,
                fmt::format("{}: found {}, which no journal of a compression holds; allowed is a "
                            "folder of that name that upg made",
                            quoted(folder), base::printable(name)));
  }
  return contents;
}

// The folder, open and locked; -1 when there is none.
int open_locked(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    if (errno == ENOENT) return -1;
    throw Error(ErrorCode::kIo, fmt::format("{}: cannot open the journal: {} (IO)", quoted(folder),
                                            std::strerror(errno)));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  ::close(descriptor);
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: another upg is writing this output", quoted(folder)));
}

void remove_files(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const std::filesystem::path& file : contents_of(folder).files) {
    std::filesystem::remove(file, ignored);
  }
}

}  // namespace

std::filesystem::path Journal::folder_of(const std::filesystem::path& output) {
  std::filesystem::path folder = output;
  folder += ".journal";
  return folder;
}

std::filesystem::path Journal::plan_file(const std::filesystem::path& output) {
  return folder_of(output) / kPlan;
}

std::optional<int> Journal::find(const std::filesystem::path& output) {
  const std::filesystem::path folder = folder_of(output);
  const int descriptor = open_locked(folder);
  if (descriptor < 0) return std::nullopt;
  ::close(descriptor);
  const Contents contents = contents_of(folder);
  if (!contents.has_job || contents.matrices == 0) return std::nullopt;
  return contents.matrices;
}

void Journal::discard(const std::filesystem::path& output) {
  const std::filesystem::path folder = folder_of(output);
  const int descriptor = open_locked(folder);
  if (descriptor < 0) return;
  remove_files(folder);
  std::error_code ignored;
  std::filesystem::remove(folder, ignored);
  ::close(descriptor);
}

Journal::Journal(const std::filesystem::path& output, const JobFields& job, bool resume)
    : folder_(folder_of(output)) {
  std::string text;
  for (const auto& [name, value] : job) text += fmt::format("{}={}\n", name, value);
  job_ = base::hex64(base::xxh3(std::as_bytes(std::span(text))));
  const bool goes_on = resume && find(output).has_value();
  std::error_code error;
  std::filesystem::create_directory(folder_, error);
  lock_ = open_locked(folder_);
  if (lock_ < 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: cannot make the journal: {} (IO)", quoted(folder_),
                                            error.message()));
  }
  try {
    if (goes_on) {
      check_job(job);
      finished_ = contents_of(folder_).matrices;
    } else {
      remove_files(folder_);
      write_job(job);
    }
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

Journal::~Journal() {
  if (finished_ == 0 && !removed_) {
    try {
      remove();
    } catch (const std::exception&) {  // what cannot be removed stays
    }
  }
  ::close(lock_);
}

void Journal::remove() {
  remove_files(folder_);
  std::error_code ignored;
  std::filesystem::remove(folder_, ignored);
  removed_ = true;
}

void Journal::write_job(const JobFields& job) const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : job) json[name] = value;
  const std::string text =
      json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  base::AtomicFile file(folder_ / kJob);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

void Journal::check_job(const JobFields& job) const {
  const std::string name = (folder_ / kJob).native();
  std::map<std::string, std::string> before;
  try {
    const base::JsonDocument document(base::read_file(name, kMaxJobBytes), name);
    for (const base::Json::Member& member : document.root().as_object(name)) {
      before.emplace(member.key, member.value.as_string(name));
    }
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}; --force starts over", error.what()));
  }
  std::vector<std::string> differences;
  for (const auto& [field, value] : job) {
    const auto found = before.find(field);
    if (found != before.end() && found->second == value) continue;
    differences.push_back(
        fmt::format("{}: found {}, allowed is {} as before", field, base::printable(value),
                    found == before.end() ? "nothing" : base::printable(found->second)));
  }
  for (const auto& [field, value] : job) before.erase(field);
  for (const auto& [field, value] : before) {
    differences.push_back(fmt::format("{}: found nothing, allowed is {} as before",
                                      base::printable(field), base::printable(value)));
  }
  if (differences.empty()) return;
  std::string text;
  for (size_t i = 0; i < std::min(differences.size(), kMostDifferences); ++i) {
    text += (i == 0 ? "" : "; ") + differences[i];
  }
  if (differences.size() > kMostDifferences) {
    text += fmt::format("; and {} more", differences.size() - kMostDifferences);
  }
  throw Error(ErrorCode::kUsage,
              fmt::format("{}: is of another job, so that --resume cannot go on: {}; --force "
                          "starts over",
                          quoted(folder_), text));
}

std::filesystem::path Journal::file_of(size_t index) const {
  return folder_ / fmt::format("{:05}{}", index, kMatrix);
}

std::filesystem::path Journal::streams_file(int layer) const {
  return folder_ / fmt::format("{}{:05}.layer", kStreams, layer);
}

std::optional<int> Journal::streams_layer() const {
  std::optional<int> last;
  for (const std::filesystem::path& file : contents_of(folder_).files) {
    const std::string name = file.filename().native();
    int layer = 0;
    if (!name.starts_with(kStreams)) continue;
    const auto [end, error] =
        std::from_chars(name.data() + kStreams.size(), name.data() + name.size(), layer);
    if (error != std::errc() || std::string_view(end) != ".layer") continue;
    last = std::max(last.value_or(0), layer);
  }
  return last;
}

void Journal::drop_streams_before(int layer) {
  std::error_code ignored;
  for (const std::filesystem::path& file : contents_of(folder_).files) {
    const bool other = file != streams_file(layer);
    if (other && file.filename().native().starts_with(kStreams)) {
      std::filesystem::remove(file, ignored);
    }
  }
}

bool Journal::holds(size_t index) const {
  std::error_code ignored;
  return std::filesystem::exists(file_of(index), ignored);
}

std::optional<EncodedMatrix> Journal::load(
    size_t index, std::string_view tensor,
    const std::function<void(std::string_view)>& damaged) const {
  if (!holds(index)) return std::nullopt;
  try {
    return read_journal_entry(file_of(index), job_, tensor);
  } catch (const Error& error) {
    damaged(error.what());
    return std::nullopt;
  }
}

void Journal::store(size_t index, std::string_view tensor, const EncodedMatrix& matrix) {
  const bool replaces = holds(index);
  write_journal_entry(file_of(index), job_, tensor, matrix);
  finished_ += replaces ? 0 : 1;
}

}  // namespace upg::compression
