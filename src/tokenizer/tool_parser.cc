#include "tokenizer/tool_parser.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "upg/error.h"

namespace upg::tokenizer {
namespace {

bool is_space(char byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }

// A JSON string that the scanner found whole; nullopt where the reader is stricter (surrogates).
std::optional<std::string> string_value(const std::string& json) {
  try {
    const base::JsonDocument document(json, "string");
    return std::string(document.root().as_string("string"));
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool is_object(const std::string& json) {
  base::JsonScanner scanner;
  auto state = base::JsonScanner::State::kMore;
  if (json.empty() || json[0] != '{') return false;
  for (const char c : json) {
    if (state != base::JsonScanner::State::kMore) return false;
    state = scanner.push(c);
  }
  return state == base::JsonScanner::State::kWhole;
}

}  // namespace

ToolCallParser::ToolCallParser(const ToolFormat& format, std::vector<std::string> names)
    : format_(format), names_(std::move(names)) {
  reset();
}

void ToolCallParser::reset() {
  place_ = Place::kStart;
  held_.clear();
  marker_.clear();
  calls_ = 0;
}

std::vector<ToolEvent> ToolCallParser::push(std::string_view text) {
  for (const char byte : text) read(byte);
  return std::exchange(events_, {});
}

std::vector<ToolEvent> ToolCallParser::finish() {
  if (place_ == Place::kCall && begun_) {
    end_call(has_arguments_);
  } else {
    if (place_ == Place::kBetween) held_.clear();
    add_content(held_ + marker_);
  }
  reset();
  return std::exchange(events_, {});
}

void ToolCallParser::read(char byte) {
  switch (place_) {
    case Place::kStart:
      if (byte == '{') {
        marked_ = false;
        return begin_candidate(byte);
      }
      if (is_space(byte) || (byte == '[' && held_.find('[') == std::string::npos)) {
        return held_.push_back(byte);
      }
      add_content(std::exchange(held_, {}));
      place_ = Place::kContent;
      return read_content(byte);
    case Place::kContent:
      return read_content(byte);
    case Place::kOpened:
      if (byte == '{') return begin_candidate(byte);
      if (!is_space(byte) && byte != '[') return give_up(byte);
      return held_.push_back(byte);
    case Place::kCall:
      return read_call(byte);
    case Place::kBetween:
      return read_between(byte);
  }
}

// ---- markers

// Whether the byte belongs to what may be a marker. Markers begin with '<' and hold no other one.
bool ToolCallParser::follow_markers(char byte) {
  if (marker_.empty() && byte != '<') return false;
  const std::string longer = marker_ + byte;
  const bool closes = place_ == Place::kBetween && !format_.close.empty();
  if (longer == format_.open) {
    held_ += std::exchange(marker_, {}) + byte;
    if (place_ == Place::kBetween) held_ = format_.open;
    marked_ = true;
    place_ = Place::kOpened;
    return true;
  }
  if (closes && longer == format_.close) {
    marker_.clear();
    return true;
  }
  if (!format_.open.starts_with(longer) && !(closes && format_.close.starts_with(longer))) {
    return false;
  }
  marker_ = longer;
  return true;
}

void ToolCallParser::read_content(char byte) {
  if (follow_markers(byte)) return;
  if (!marker_.empty()) {
    add_content(std::exchange(marker_, {}));
    return read_content(byte);
  }
  add_content({&byte, 1});
}

// What separates calls and white space are dropped; content begins with anything else.
void ToolCallParser::read_between(char byte) {
  if (follow_markers(byte)) return;
  if (marker_.empty()) {
    if (byte == '{') return begin_candidate(byte);
    if (is_space(byte) || byte == ',' || byte == ';' || byte == ']') return held_.push_back(byte);
  }
  held_.clear();
  place_ = Place::kContent;
  add_content(std::exchange(marker_, {}));
  read_content(byte);
}

// ---- a call

void ToolCallParser::begin_candidate(char byte) {
  if (place_ == Place::kBetween) held_.clear();
  held_ += byte;
  place_ = Place::kCall;
  call_place_ = CallPlace::kKey;
  begun_ = has_arguments_ = streams_ = false;
  name_.reset();
  early_arguments_.clear();
}

void ToolCallParser::read_call(char byte) {
  const bool reads = call_place_ == CallPlace::kInside ? read_inside(byte) : read_structure(byte);
  if (!reads) return give_up(byte);
  if (place_ == Place::kCall && !begun_) held_ += byte;
}

bool ToolCallParser::read_structure(char byte) {
  if (is_space(byte)) return true;
  switch (call_place_) {
    case CallPlace::kKey:
      reading_key_ = true;
      return byte == '"' && begin_value(byte);
    case CallPlace::kColon:
      call_place_ = CallPlace::kValue;
      return byte == ':';
    case CallPlace::kValue:
      reading_key_ = false;
      return begin_value(byte);
    default:
      break;
  }
  if (byte == ',') {
    call_place_ = CallPlace::kKey;
    return true;
  }
  const bool enough = name_ && (has_arguments_ || marked_);
  if (byte != '}' || !enough) return false;
  if (!begun_) begin_call();
  end_call(true);
  return true;
}

bool ToolCallParser::begin_value(char byte) {
  scanner_ = {};
  value_.clear();
  call_place_ = CallPlace::kInside;
  const bool arguments = !reading_key_ && member_ == Member::kArguments;
  if (arguments && byte != '{' && byte != '"') return false;
  streams_ = arguments && byte == '{' && name_.has_value();
  if (streams_ && !begun_) begin_call();
  return read_inside(byte);
}

bool ToolCallParser::read_inside(char byte) {
  const base::JsonScanner::State state = scanner_.push(byte);
  if (state == base::JsonScanner::State::kBroken) return false;
  if (streams_) {
    add_arguments({&byte, 1});
  } else {
    value_ += byte;
  }
  return state == base::JsonScanner::State::kMore || end_member();
}

// A key or a value is whole.
bool ToolCallParser::end_member() {
  if (reading_key_) {
    const auto key = string_value(value_);
    call_place_ = CallPlace::kColon;
    if (key == "name") {
      member_ = Member::kName;
    } else {
      member_ = key == "arguments" || key == "parameters" ? Member::kArguments : Member::kOther;
    }
    const bool twice = member_ == Member::kName ? name_.has_value()
                                                : member_ == Member::kArguments && has_arguments_;
    return key.has_value() && !twice;
  }
  call_place_ = CallPlace::kBehindValue;
  if (member_ == Member::kName) return end_name();
  if (member_ == Member::kOther) return true;
  has_arguments_ = true;
  if (std::exchange(streams_, false)) return true;
  if (value_[0] == '"') {  // JSON within a string
    const auto inside = string_value(value_);
    if (!inside || !is_object(*inside)) return false;
    value_ = *inside;
  }
  early_arguments_ = value_;
  if (name_) begin_call();
  return true;
}

bool ToolCallParser::end_name() {
  if (value_[0] != '"') return false;
  name_ = string_value(value_);
  if (!name_ || name_->empty()) return false;
  const bool known = std::find(names_.begin(), names_.end(), *name_) != names_.end();
  if (!marked_ && !names_.empty() && !known) return false;
  if (has_arguments_) begin_call();
  return true;
}

void ToolCallParser::begin_call() {
  begun_ = true;
  held_.clear();
  events_.push_back({ToolEvent::Kind::kCallBegin, calls_++, *name_});
  if (has_arguments_) {
    add_arguments(early_arguments_);
  } else if (!streams_) {
    add_arguments("{}");
  }
}

void ToolCallParser::end_call(bool whole) {
  events_.push_back({ToolEvent::Kind::kCallEnd, calls_ - 1, {}, whole});
  place_ = Place::kBetween;
  held_.clear();
}

// The byte does not belong to a call: what was held is content, unless the call was begun already.
void ToolCallParser::give_up(char byte) {
  if (place_ == Place::kCall && begun_) {
    end_call(has_arguments_);
  } else {
    add_content(std::exchange(held_, {}));
  }
  place_ = Place::kContent;
  read_content(byte);
}

// ---- events

void ToolCallParser::add_content(std::string_view text) {
  if (text.empty()) return;
  if (events_.empty() || events_.back().kind != ToolEvent::Kind::kContent) events_.emplace_back();
  events_.back().text += text;
}

void ToolCallParser::add_arguments(std::string_view text) {
  if (events_.empty() || events_.back().kind != ToolEvent::Kind::kArguments) {
    events_.push_back({ToolEvent::Kind::kArguments, calls_ - 1, {}});
  }
  events_.back().text += text;
}

}  // namespace upg::tokenizer
