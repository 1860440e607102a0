// Any bytes as an answer with tool calls: the events do not depend on the cuts, calls begin and end
// in turn, whole arguments are JSON objects, and an answer without a { is content.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/json_scanner.h"
#include "tokenizer/tool_parser.h"

namespace {

using upg::base::JsonScanner;
using upg::tokenizer::ToolCallParser;
using upg::tokenizer::ToolEvent;
using upg::tokenizer::ToolFormat;

void check_object(const std::string& text) {
  JsonScanner scanner;
  auto state = JsonScanner::State::kMore;
  for (const char c : text) {
    UPG_CHECK(state == JsonScanner::State::kMore);
    state = scanner.push(c);
  }
  UPG_CHECK(text.starts_with('{') && state == JsonScanner::State::kWhole);
}

// The events with the cuts of content and arguments taken out.
class Joiner {
 public:
  void add(const std::vector<ToolEvent>& events) {
    for (const ToolEvent& event : events) add(event);
  }
  const std::string& text() const { return text_; }
  bool has_calls() const { return calls_ > 0; }

 private:
  void add(const ToolEvent& event) {
    const bool inside =
        event.kind == ToolEvent::Kind::kArguments || event.kind == ToolEvent::Kind::kCallEnd;
    UPG_CHECK(inside == open_ || (event.kind == ToolEvent::Kind::kCallEnd && open_));
    if (event.kind == ToolEvent::Kind::kCallBegin) {
      UPG_CHECK(event.index == calls_++);
      open_ = true;
      arguments_.clear();
      text_ += "\x01";
    }
    if (event.kind == ToolEvent::Kind::kArguments) arguments_ += event.text;
    if (event.kind == ToolEvent::Kind::kCallEnd) {
      open_ = false;
      if (event.whole) check_object(arguments_);
      text_ += event.whole ? "\x02" : "\x03";
    }
    text_ += event.text;
  }

  std::string text_, arguments_;
  bool open_ = false;
  int calls_ = 0;
};

void parse(const ToolFormat& format, const std::string& text, size_t piece) {
  ToolCallParser whole(format), cut(format);
  Joiner first, second;
  first.add(whole.push(text));
  first.add(whole.finish());
  for (size_t i = 0; i < text.size(); i += piece) second.add(cut.push(text.substr(i, piece)));
  second.add(cut.finish());
  UPG_CHECK(first.text() == second.text());
  const bool may_call = text.find('{') != std::string::npos;
  if (!may_call) UPG_CHECK(first.text() == text && !first.has_calls());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const ToolFormat& format : upg::tokenizer::tool_formats())
    parse(format, text, 1 + data[0] % 7);
  return 0;
}
