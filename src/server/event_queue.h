// What the scheduler says, brought to the loop's thread: everything that has come since the last
// time in one call.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "server/generation.h"

namespace upg::server {

using PromptLogprobs = std::vector<TokenLogprob>;

struct GenerationEvent {
  int choice = 0;
  std::variant<PromptLogprobs, GeneratedPiece, GenerationResult> what;
};

class EventQueue : public GenerationSink, public std::enable_shared_from_this<EventQueue> {
 public:
  using Receiver = std::function<void(std::vector<GenerationEvent>&)>;

  // pieces: each piece is brought at once; else they wait for the end of an answer.
  EventQueue(boost::asio::io_context& loop, bool pieces, Receiver receiver)
      : loop_(loop), pieces_(pieces), receiver_(std::move(receiver)) {}

  void prompt(int choice, PromptLogprobs logprobs) noexcept override;
  void piece(int choice, GeneratedPiece piece) noexcept override;
  void finished(int choice, GenerationResult result) noexcept override;

 private:
  void add(GenerationEvent event, bool deliver);
  void deliver();

  boost::asio::io_context& loop_;
  bool pieces_;
  Receiver receiver_;  // on the loop's thread
  std::mutex mutex_;
  std::vector<GenerationEvent> events_;
  bool posted_ = false;
};

}  // namespace upg::server
