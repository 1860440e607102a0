// Accepts connections and keeps them: how many there may be, what takes too long, how it ends.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "server/http/connection.h"

namespace upg::server::http {

struct Address {
  std::string host = "127.0.0.1";
  int port = 8080;  // 0: any that is free

  bool is_loopback() const {
    return host == "localhost" || host == "::1" || host.starts_with("127.");
  }
};

// On the thread that runs the loop.
class Listener {
 public:
  // Throws Error(kUsage) naming the address when it cannot be listened on. tls may be null.
  Listener(asio::io_context& loop, const Address& address, ConnectionContext& context,
           asio::ssl::context* tls);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const noexcept { return port_; }
  int connections() const noexcept { return static_cast<int>(connections_.size()); }
  // No new connections; idle ones end now, others with their answer.
  void drain();
  // Requests are still worked on or answers written.
  bool busy() const;
  void abort_all();

 private:
  void accept();
  void on_accept(error_code error, asio::ip::tcp::socket socket);
  void pause();
  void sweep();
  void set_date();

  ConnectionContext& context_;
  asio::ssl::context* tls_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer sweeper_;
  asio::steady_timer pause_;
  int port_ = 0;
  bool accepting_ = false;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
};

}  // namespace upg::server::http
