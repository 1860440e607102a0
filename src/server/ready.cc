#include "server/ready.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "base/env.h"

namespace upg::server {
namespace {

void notify(std::string_view state) noexcept {
  const auto path = base::environment("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (!path || path->empty() || path->size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path->data(), path->size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract socket
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path->size());
  ::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&address), length);
  ::close(descriptor);
}

}  // namespace

void notify_ready() noexcept { notify("READY=1"); }
void notify_stopping() noexcept { notify("STOPPING=1"); }

}  // namespace upg::server
