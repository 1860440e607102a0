// One line an event, as text or as JSON. Nothing of what users write or models answer is in them
// unless it is asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace upg::server {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  bool json = false;
  std::filesystem::path file;  // empty: stderr
};

// Thread-safe.
class Log {
 public:
  using Value = std::variant<std::string_view, int64_t, double>;
  using Fields = std::initializer_list<std::pair<std::string_view, Value>>;

  // Throws Error(kIo) when the file cannot be written.
  explicit Log(const LogOptions& options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void write(LogLevel level, std::string_view event, Fields fields) noexcept;
  void debug(std::string_view event, Fields fields) noexcept {
    write(LogLevel::kDebug, event, fields);
  }
  void info(std::string_view event, Fields fields) noexcept {
    write(LogLevel::kInfo, event, fields);
  }
  void warn(std::string_view event, Fields fields) noexcept {
    write(LogLevel::kWarning, event, fields);
  }
  void error(std::string_view event, Fields fields) noexcept {
    write(LogLevel::kError, event, fields);
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace upg::server
