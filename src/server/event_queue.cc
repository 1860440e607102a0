#include "server/event_queue.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace upg::server {

void EventQueue::piece(int choice, GeneratedPiece piece) noexcept {
  add({choice, std::move(piece)});
}

void EventQueue::finished(int choice, GenerationResult result) noexcept {
  add({choice, std::move(result)});
}

void EventQueue::add(GenerationEvent event) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = events_.empty();
    events_.push_back(std::move(event));
  }
  if (first) boost::asio::post(loop_, [self = shared_from_this()] { self->deliver(); });
}

void EventQueue::deliver() {
  std::vector<GenerationEvent> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
  }
  receiver_(events);
}

}  // namespace upg::server
