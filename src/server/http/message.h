// A request as handlers see it, and an answer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace upg::server::http {

struct Request {
  std::string id;      // of our making, or the client's X-Request-Id
  std::string method;  // as sent
  std::string path;    // without the query; what routing and authorisation look at
  std::string query;
  std::string content_type;
  std::string authorization;
  std::string host;
  std::string origin;
  std::string wanted_headers;  // Access-Control-Request-Headers
  std::string if_none_match;
  std::string peer;  // address
  std::string body;
};

using Header = std::pair<std::string_view, std::string>;

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<Header> headers;
  bool close = false;  // the connection ends with it
};

// One request on its way to its answer: either respond(), or begin_stream(), send() and
// end_stream(). On the thread of the server's loop alone.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const noexcept = 0;
  virtual void respond(Response response) = 0;
  virtual void begin_stream(Response head) = 0;  // its body is the first part
  // False when nobody reads any more, or too slowly: the caller should stop.
  virtual bool send(std::string_view part) = 0;
  virtual void end_stream() = 0;
  // Called at most once, when the client has left before the answer was complete.
  virtual void on_disconnect(std::function<void()> callback) = 0;
};

using ExchangePointer = std::shared_ptr<Exchange>;

std::string_view status_text(int status) noexcept;

}  // namespace upg::server::http
