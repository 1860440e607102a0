// One HTTP/1.1 connection: requests in, answers out, one after the other (RFC 9112).
//
// It always reads, so that a client that leaves is noticed while its request is worked on. What it
// holds is bounded: the header, the body, what waits to be written. Framing that two readers could
// understand differently (two lengths, a length and chunks, odd line ends) is refused and ends the
// connection.
#pragma once

#include <array>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/http/byte_stream.h"
#include "server/http/message.h"

namespace upg::server::http {

using Clock = std::chrono::steady_clock;

struct Limits {
  size_t target_bytes = size_t{8} << 10;
  size_t header_bytes = size_t{32} << 10;
  int header_fields = 100;
  size_t body_bytes = size_t{16} << 20;
  size_t all_bodies_bytes = size_t{1} << 30;  // of all connections, while they come in
  size_t output_bytes = size_t{256} << 10;    // waiting for a reader
  std::chrono::seconds idle{75};              // between requests
  std::chrono::seconds header{10};  // from a request's first byte to the end of its header
  std::chrono::seconds body{30};    // between two parts of a body
  std::chrono::seconds whole_body{300};
  std::chrono::seconds write{30};
  std::chrono::seconds linger{2};  // after the last answer, so that the client can read it
  int connections = 10000;
};

// What all connections of a server share. Used by the loop's thread alone.
struct ConnectionContext {
  Limits limits;
  std::function<void(ExchangePointer)> handler;
  // Of a request that is refused here: status and what is wrong with it; returns the answer's body.
  std::function<std::string(int status, std::string_view what)> error_body;
  // Of a request whose body is still to come: false when it will be refused whatever the body is.
  // Then none is read: the answer is 401.
  std::function<bool(std::string_view path, std::string_view authorization)> admits;
  size_t body_bytes = 0;  // that all connections hold of requests not yet handed on
  std::string date;       // now, as a header field wants it
  bool draining = false;  // answers end their connections
  uint64_t next_request = 1;
  std::string id_prefix;  // of request ids
};

class ConnectionExchange;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::unique_ptr<ByteStream> stream, ConnectionContext& context);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  // Ends what has taken too long.
  void sweep(Clock::time_point now);
  bool closed() const noexcept { return state_ == State::kClosed; }
  bool busy() const noexcept { return state_ == State::kHandling || writing_; }
  // Ends it when it has no request.
  void close_if_idle();
  void abort();

 private:
  friend class ConnectionExchange;
  enum class State : uint8_t { kHandshake, kReading, kHandling, kLingering, kClosed };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void read();
  void on_read(error_code error, size_t bytes);
  void consume();
  bool begin_request();
  bool parse();
  bool check_header();
  bool reserve_body();
  void release_body();
  void continue_if_expected();
  void reject(int status, std::string_view what);
  void dispatch();
  void write(std::string_view bytes);
  void write_response(const Response& response);
  std::string head(const Response& response, std::string_view framing) const;
  void finish_exchange(bool close);
  void flush();
  void on_written(error_code error);
  void linger();
  void disconnected();

  std::unique_ptr<ByteStream> stream_;
  ConnectionContext& context_;
  State state_ = State::kHandshake;
  std::string peer_;
  std::array<char, 8192> read_buffer_;
  std::string in_;  // read, not parsed
  std::unique_ptr<Parser> parser_;
  bool header_checked_ = false;
  size_t reserved_ = 0;  // of context_.body_bytes
  bool reading_ = false;
  bool end_of_input_ = false;
  std::shared_ptr<ConnectionExchange> exchange_;
  bool keep_alive_ = true;  // of the request that is worked on
  bool http_11_ = true;
  bool head_only_ = false;
  std::string request_id_;

  std::string out_;        // to be written
  std::string in_flight_;  // being written
  bool writing_ = false;
  bool close_when_written_ = false;

  Clock::time_point since_ = Clock::now();  // the present state began
  Clock::time_point last_read_ = Clock::now();
  Clock::time_point write_began_ = Clock::now();
};

}  // namespace upg::server::http
