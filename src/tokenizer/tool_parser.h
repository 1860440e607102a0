// Tool calls in the text that a model writes, while it writes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_scanner.h"
#include "tokenizer/tool_formats.h"

namespace upg::tokenizer {

struct ToolEvent {
  enum class Kind { kContent, kCallBegin, kArguments, kCallEnd };
  Kind kind = Kind::kContent;
  int index = 0;     // of the call
  std::string text;  // content; the name at kCallBegin; a piece of the arguments
  // At kCallEnd: the arguments are a whole JSON object. Not so when the text ended too early or
  // broke; what followed is content.
  bool whole = false;
};

// Every text gives events, and never an error: what only looks like a call is content. The events
// do not depend on how the text is cut into pieces, but for the cuts of content and arguments.
// The pieces of a call's arguments are, one behind the other, the JSON object exactly as the model
// wrote it ({} where it wrote none). Small models forget the marker: an answer that begins with a
// call is one without it too, when it names a tool there is. With a marker any name will do. One
// thread at a time.
class ToolCallParser {
 public:
  // names: of the tools, for calls without a marker; empty: any. `format` is a row of the table.
  explicit ToolCallParser(const ToolFormat& format, std::vector<std::string> names = {});

  // text: with special tokens written out.
  std::vector<ToolEvent> push(std::string_view text);
  // The end of the text: what was held back. Starts anew.
  std::vector<ToolEvent> finish();

  int calls() const noexcept { return calls_; }  // begun so far

 private:
  enum class Place {
    kStart,  // of an answer that may be a call without a marker
    kContent,
    kOpened,  // behind OPEN, before a call
    kCall,
    kBetween,  // behind a call
  };
  enum class CallPlace { kKey, kColon, kValue, kBehindValue, kInside };
  enum class Member { kName, kArguments, kOther };

  void read(char byte);
  void read_content(char byte);
  void read_between(char byte);
  bool follow_markers(char byte);
  void begin_candidate(char byte);
  void read_call(char byte);
  bool read_structure(char byte);
  bool begin_value(char byte);
  bool read_inside(char byte);
  bool end_member();
  bool end_name();
  void begin_call();
  void end_call(bool whole);
  void give_up(char byte);
  void add_content(std::string_view text);
  void add_arguments(std::string_view text);
  void reset();

  const ToolFormat& format_;
  std::vector<std::string> names_;
  std::vector<ToolEvent> events_;
  int calls_ = 0;

  Place place_ = Place::kContent;
  std::string held_;    // not given out yet: it may be part of a call
  std::string marker_;  // what may become OPEN or CLOSE, in kContent and kBetween

  // ---- the call that is being read
  bool marked_ = false;  // there was an OPEN
  bool begun_ = false;   // kCallBegin was given
  CallPlace call_place_ = CallPlace::kKey;
  bool reading_key_ = false;
  Member member_ = Member::kOther;
  base::JsonScanner scanner_;
  std::string value_;  // of the key or member, as written
  std::optional<std::string> name_;
  bool has_arguments_ = false;   // whole
  bool streams_ = false;         // the member is given out while it is read
  std::string early_arguments_;  // written before the name
};

}  // namespace upg::tokenizer
