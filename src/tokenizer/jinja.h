// A small, bounded evaluator of the part of the Jinja template language that chat templates use.
//
// It only recognises templates (chat_template.h): a template is run on a few probe conversations
// and what comes out is compared. What it does not know exactly it refuses, so that an answer is
// Jinja's answer. Templates come from outside: steps, nesting, and sizes are limited.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/jinja_value.h"

namespace upg::tokenizer::jinja {

struct Node;

inline constexpr size_t kMaxTemplateBytes = size_t{256} << 10;
inline constexpr size_t kMaxTextBytes = size_t{256} << 10;  // of a value, of the output
inline constexpr int64_t kMaxSteps = 1'000'000;

class Template {
 public:
  // Throws Error(kUnsupported) naming the line for a syntax error or a construct that is not known
  // here, kInvalidData for a template above kMaxTemplateBytes.
  explicit Template(std::string_view text);
  ~Template();
  Template(const Template&) = delete;
  Template& operator=(const Template&) = delete;

  // The output; nullopt when the template called raise_exception(). Throws Error(kUnsupported) as
  // above, also for what breaks a limit. Thread-safe.
  std::optional<std::string> render(const Dict& variables) const;

 private:
  std::unique_ptr<const Node> root_;
};

}  // namespace upg::tokenizer::jinja
