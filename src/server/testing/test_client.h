// A server in this process and raw connections to it, for tests.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "server/server.h"
#include "server/testing/fake_model.h"

namespace upg::server {

// Over a FakeModel, on a port of its own; stops when it goes.
class TestServer {
 public:
  explicit TestServer(ServerOptions options = {}, const FakeOptions& fake = {});
  ~TestServer();
  int port() const { return port_; }
  Server& server() { return *server_; }
  FakeModel& model() { return *model_; }
  void join();  // until it has stopped by itself

 private:
  FakeModel* model_ = nullptr;
  std::unique_ptr<Server> server_;
  int port_ = 0;
  std::thread thread_;
};

struct Answer {
  int status = 0;
  std::string head;  // with the status line
  std::string body;  // chunks joined
  bool complete = false;
};

// One connection; every wait ends after some seconds.
class TestClient {
 public:
  explicit TestClient(int port);
  ~TestClient() { close(); }
  void send(std::string_view bytes);
  Answer read_answer(bool of_head = false);
  std::string read_some();  // empty at the end
  bool closed_by_server();
  void close();
  void reset();      // closes with RST
  void shut_down();  // while another thread writes

 private:
  bool more();

  boost::asio::io_context loop_;
  boost::asio::ip::tcp::socket socket_;
  std::string in_;
};

// A request with a Content-Length where there is a body.
std::string request_text(std::string_view method, std::string_view path, std::string_view body = {},
                         std::string_view headers = {});
Answer ask(int port, std::string_view method, std::string_view path, std::string_view body = {},
           std::string_view headers = {});

}  // namespace upg::server
