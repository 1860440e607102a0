#include "server/event_queue.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace upg::server {

void EventQueue::prompt(int choice, PromptLogprobs logprobs) noexcept {
  add({choice, std::move(logprobs)}, pieces_);
}

void EventQueue::piece(int choice, GeneratedPiece piece) noexcept {
  add({choice, std::move(piece)}, pieces_);
}

void EventQueue::finished(int choice, GenerationResult result) noexcept {
  add({choice, std::move(result)}, true);
}

void EventQueue::add(GenerationEvent event, bool deliver) {
  bool post = false;
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    post = deliver && !posted_;
    posted_ = posted_ || deliver;
  }
  if (post) boost::asio::post(loop_, [self = shared_from_this()] { self->deliver(); });
}

void EventQueue::deliver() {
  std::vector<GenerationEvent> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
    posted_ = false;
  }
  receiver_(events);
}

}  // namespace upg::server
