#include "server/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "base/json.h"
#include "base/text.h"
#include "upg/error.h"

namespace upg::server {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::off;
}

std::string json_value(const Log::Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return base::json_quote(*text);
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  const double number = std::get<double>(value);
  return std::isfinite(number) ? fmt::format("{:.6g}", number) : "null";
}

// Quoted where it would not be one word.
std::string text_value(const Log::Value& value) {
  const auto* text = std::get_if<std::string_view>(&value);
  if (text == nullptr) return json_value(value);
  const bool word = !text->empty() && text->find_first_of(" =\"\\") == std::string_view::npos;
  const std::string printable = base::printable(*text);
  return word && printable == *text ? printable : base::json_quote(*text);
}

}  // namespace

struct Log::Impl {
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
};

Log::Log(const LogOptions& options) : impl_(std::make_unique<Impl>()) {
  try {
    spdlog::sink_ptr sink;
    if (options.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file.string());
    }
    impl_->logger = std::make_shared<spdlog::logger>("upg", sink);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(ErrorCode::kIo, fmt::format("--log-file: {}", error.what()));
  }
  impl_->json = options.json;
  impl_->logger->set_level(level_of(options.level));
  impl_->logger->flush_on(spdlog::level::debug);
  // %v is whole JSON from {"event" on, or the event and its fields.
  impl_->logger->set_pattern(options.json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                                          : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                             spdlog::pattern_time_type::utc);
}

Log::~Log() = default;

void Log::write(LogLevel level, std::string_view event, Fields fields) noexcept {
  if (!impl_->logger->should_log(level_of(level))) return;
  std::string line;
  if (impl_->json) {
    line = fmt::format(R"("event":{})", base::json_quote(event));
    for (const auto& [name, value] : fields) {
      line += fmt::format(",{}:{}", base::json_quote(name), json_value(value));
    }
  } else {
    line = event;
    for (const auto& [name, value] : fields) line += fmt::format(" {}={}", name, text_value(value));
  }
  impl_->logger->log(level_of(level), "{}", line);
}

}  // namespace upg::server
