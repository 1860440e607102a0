#include "server/http/connection.h"

#include <fmt/format.h>

#include <boost/beast/http/error.hpp>
#include <iterator>
#include <utility>

#include "server/http/header_check.h"

namespace upg::server::http {
namespace {

namespace beast_http = boost::beast::http;
using beast_http::field;

std::string text_of(boost::beast::string_view text) { return {text.data(), text.size()}; }

// An id that a client gave is repeated where it is harmless.
bool is_plain_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  });
}

// A request line that is whole, of HTTP's form, and of another version than ours.
bool names_another_version(std::string_view in) {
  const std::string_view line = in.substr(0, in.find('\r'));
  const size_t space = line.rfind(' ');
  if (space == line.npos || std::count(line.begin(), line.end(), ' ') != 2) return false;
  const std::string_view version = line.substr(space + 1);
  const auto digit = [&](size_t i) { return version[i] >= '0' && version[i] <= '9'; };
  return version.size() == 8 && version.starts_with("HTTP/") && digit(5) && version[6] == '.' &&
         digit(7) && version != "HTTP/1.1" && version != "HTTP/1.0";
}

// The status for what the parser did not like in `in`.
int status_of(error_code error, std::string_view in) {
  if (error == beast_http::error::header_limit) return 431;
  if (error == beast_http::error::body_limit) return 413;
  if (error == beast_http::error::bad_version && names_another_version(in)) return 505;
  return 400;
}

}  // namespace

// The Exchange of one request; outlives the connection's interest in it.
class ConnectionExchange : public Exchange {
 public:
  ConnectionExchange(std::shared_ptr<Connection> connection, Request request)
      : connection_(std::move(connection)), request_(std::move(request)) {}

  const Request& request() const noexcept override { return request_; }

  void respond(Response response) override {
    const auto connection = std::exchange(connection_, nullptr);
    callback_ = nullptr;
    if (!connection) return;
    connection->write_response(response);
    connection->finish_exchange(response.close);
  }

  void begin_stream(Response head) override {
    if (!connection_) return;
    if (!connection_->http_11_) connection_->keep_alive_ = false;
    const std::string_view framing =
        connection_->http_11_ ? "Transfer-Encoding: chunked\r\n" : std::string_view();
    connection_->out_ += connection_->head(head, framing);  // leaves with the first part
    send(head.body);
  }

  bool send(std::string_view part) override {
    if (!connection_) return false;
    if (part.empty() || connection_->head_only_) return true;
    if (connection_->http_11_) {
      connection_->write(fmt::format("{:x}\r\n{}\r\n", part.size(), part));
    } else {
      connection_->write(part);
    }
    if (!connection_) return false;  // the write failed at once
    if (connection_->out_.size() <= connection_->context_.limits.output_bytes) return true;
    const auto connection = connection_;
    connection->abort();
    return false;
  }

  void end_stream() override {
    const auto connection = std::exchange(connection_, nullptr);
    callback_ = nullptr;
    if (!connection) return;
    if (connection->http_11_ && !connection->head_only_) connection->write("0\r\n\r\n");
    connection->finish_exchange(false);
  }

  void on_disconnect(std::function<void()> callback) override {
    if (connection_) {
      callback_ = std::move(callback);
    } else {
      callback();
    }
  }

  void disconnected() {
    connection_ = nullptr;
    if (const auto callback = std::exchange(callback_, nullptr)) callback();
  }

 private:
  std::shared_ptr<Connection> connection_;
  Request request_;
  std::function<void()> callback_;
};

Connection::Connection(std::unique_ptr<ByteStream> stream, ConnectionContext& context)
    : stream_(std::move(stream)), context_(context) {
  error_code error;
  const auto endpoint = stream_->socket().remote_endpoint(error);
  if (!error) peer_ = endpoint.address().to_string();
  stream_->socket().set_option(asio::ip::tcp::no_delay(true), error);
}

Connection::~Connection() { release_body(); }

void Connection::start() {
  const auto self = shared_from_this();
  stream_->handshake([self](error_code error) {
    if (error) return self->abort();
    self->state_ = State::kReading;
    self->since_ = self->last_read_ = Clock::now();
    self->read();
  });
}

// ---- in

void Connection::read() {
  constexpr size_t kMostPipelined = size_t{64} << 10;
  const bool full = state_ != State::kLingering && in_.size() > kMostPipelined;
  if (reading_ || end_of_input_ || full || state_ == State::kClosed) return;
  reading_ = true;
  const auto self = shared_from_this();
  stream_->read_some(asio::buffer(read_buffer_), [self](error_code error, size_t bytes) {
    self->reading_ = false;
    self->on_read(error, bytes);
  });
}

void Connection::on_read(error_code error, size_t bytes) {
  if (state_ == State::kClosed) return;
  if (error) {
    end_of_input_ = true;
    if (state_ == State::kHandling) return disconnected();
    // An answer may still be on its way to a client that has closed its own side.
    if (writing_ || !out_.empty()) {
      close_when_written_ = true;
      return;
    }
    return abort();
  }
  if (state_ == State::kLingering) return read();
  last_read_ = Clock::now();
  in_.append(read_buffer_.data(), bytes);
  consume();
  read();
}

// Parses what there is, request after request, unless too much waits to be written.
void Connection::consume() {
  while (state_ == State::kReading && !close_when_written_ && !in_.empty() &&
         out_.size() <= context_.limits.output_bytes) {
    if (!parser_ && !begin_request()) return;
    if (!parse()) return;
  }
}

bool Connection::begin_request() {
  // Empty lines before a request are passed over (RFC 9112, 2.2).
  size_t skip = 0;
  while (in_.compare(skip, 2, "\r\n") == 0 && skip < 8) skip += 2;
  in_.erase(0, skip);
  if (in_.empty() || in_ == "\r") return false;
  parser_ = std::make_unique<Parser>();
  parser_->eager(true);
  parser_->header_limit(static_cast<uint32_t>(context_.limits.header_bytes));
  parser_->body_limit(context_.limits.body_bytes);
  header_checked_ = false;
  since_ = Clock::now();
  return true;
}

// False when more bytes are needed, or nothing more is read.
bool Connection::parse() {
  error_code error;
  const size_t used = parser_->put(asio::buffer(in_), error);
  in_.erase(0, used);
  if (parser_->is_header_done() && !header_checked_) {
    header_checked_ = true;
    if (!check_header()) return false;
    since_ = Clock::now();
    if (!error || error == beast_http::error::need_more) continue_if_expected();
  }
  const bool goes_on = !error || error == beast_http::error::need_more;
  if (goes_on && header_checked_ && !reserve_body()) return false;
  if (error == beast_http::error::need_more) {
    // Of a body all is taken but an unfinished line between two chunks, or trailers.
    constexpr size_t kMostChunkLine = size_t{16} << 10;
    if (header_checked_ && in_.size() > kMostChunkLine) {
      reject(400, "a line between chunks, or trailers, longer than any use of them");
      return false;
    }
    return used > 0 && !in_.empty();
  }
  if (error) {
    reject(status_of(error, in_), "broken HTTP request: " + error.message());
    return false;
  }
  if (!parser_->is_done()) return true;
  dispatch();
  return true;
}

bool Connection::check_header() {
  const auto& header = parser_->get();
  if (const auto refusal = check_request_header(header, context_.limits)) {
    reject(refusal->status, refusal->what);
    return false;
  }
  if (parser_->is_done()) return true;
  const Target target = split_target(text_of(header.target()));
  const bool one = header.count(field::authorization) <= 1;
  const std::string key = one ? text_of(header[field::authorization]) : std::string();
  if (context_.admits && !context_.admits(target.path, key)) {
    reject(401, "no valid API key");
    return false;
  }
  return reserve_body();
}

// All bodies together have a bound: a declared length counts from the start, chunks as they come.
bool Connection::reserve_body() {
  const auto declared = parser_->content_length();
  const size_t held = declared ? *declared : parser_->get().body().size();
  if (held <= reserved_) return true;
  if (context_.body_bytes + held - reserved_ > context_.limits.all_bodies_bytes) {
    reject(503, "too many large requests at the same time");
    return false;
  }
  context_.body_bytes += held - reserved_;
  reserved_ = held;
  return true;
}

void Connection::release_body() {
  context_.body_bytes -= reserved_;
  reserved_ = 0;
}

void Connection::continue_if_expected() {
  const auto& header = parser_->get();
  if (parser_->is_done() || header.version() < 11 || header[field::expect].empty()) return;
  write("HTTP/1.1 100 Continue\r\n\r\n");
}

// The answer to what is no request; where the next one would begin is not known, so none follows.
void Connection::reject(int status, std::string_view what) {
  http_11_ = true;
  head_only_ = false;
  keep_alive_ = false;
  request_id_ = fmt::format("{}{}", context_.id_prefix, context_.next_request++);
  Response response;
  response.status = status;
  response.body = context_.error_body(status, what);
  response.close = true;
  write_response(response);
  finish_exchange(true);
}

void Connection::dispatch() {
  auto& message = parser_->get();
  Request request;
  request.method = text_of(message.method_string());
  Target target = split_target(text_of(message.target()));
  request.path = std::move(target.path);
  request.query = std::move(target.query);
  request.content_type = text_of(message[field::content_type]);
  if (message.count(field::authorization) == 1) {
    request.authorization = text_of(message[field::authorization]);
  } else if (message.count(field::authorization) > 1) {
    request.authorization = "more than one";  // no scheme: no key
  }
  request.host = text_of(message[field::host]);
  request.origin = text_of(message[field::origin]);
  request.wanted_headers = text_of(message[field::access_control_request_headers]);
  request.if_none_match = text_of(message[field::if_none_match]);
  request.peer = peer_;
  request.id = text_of(message["X-Request-Id"]);
  if (!is_plain_id(request.id)) {
    request.id = fmt::format("{}{}", context_.id_prefix, context_.next_request++);
  }
  request.body = std::move(message.body());
  request_id_ = request.id;
  http_11_ = message.version() >= 11;
  keep_alive_ = message.keep_alive() && !context_.draining;
  head_only_ = request.method == "HEAD";
  parser_.reset();
  release_body();
  state_ = State::kHandling;
  exchange_ = std::make_shared<ConnectionExchange>(shared_from_this(), std::move(request));
  const ExchangePointer exchange = exchange_;
  context_.handler(exchange);
}

// ---- out

std::string Connection::head(const Response& response, std::string_view framing) const {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nServer: upg\r\n", response.status,
                                 status_text(response.status), context_.date);
  if (!response.content_type.empty()) {
    head += fmt::format("Content-Type: {}\r\n", response.content_type);
  }
  head += fmt::format("X-Request-Id: {}\r\n", request_id_);
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  head += framing;
  if (!keep_alive_ || response.close) {
    head += "Connection: close\r\n";
  } else if (!http_11_) {
    head += "Connection: keep-alive\r\n";
  }
  return head + "\r\n";
}

void Connection::write_response(const Response& response) {
  const bool no_body = response.status == 204 || response.status == 304;
  const std::string framing =
      no_body ? "" : fmt::format("Content-Length: {}\r\n", response.body.size());
  std::string all = head(response, framing);
  if (!no_body && !head_only_) all += response.body;
  write(all);  // in one: a packet less
}

void Connection::write(std::string_view bytes) {
  if (state_ == State::kClosed) return;
  out_ += bytes;
  flush();
}

// The next request, or the end.
void Connection::finish_exchange(bool close) {
  exchange_.reset();
  if (state_ == State::kClosed) return;
  state_ = State::kReading;
  since_ = last_read_ = Clock::now();
  if (close || !keep_alive_ || end_of_input_) {
    close_when_written_ = true;
    if (!writing_ && out_.empty()) linger();
    return;
  }
  // Later: this may be called from within consume().
  if (!in_.empty() || !reading_) {
    asio::post(stream_->socket().get_executor(), [self = shared_from_this()] {
      self->consume();
      self->read();
    });
  }
}

void Connection::flush() {
  if (writing_ || out_.empty()) return;
  writing_ = true;
  write_began_ = Clock::now();
  // A large answer in slices, so that the time limit is one on progress.
  constexpr size_t kSlice = size_t{1} << 20;
  if (out_.size() <= kSlice) {
    in_flight_.swap(out_);
  } else {
    in_flight_.assign(out_, 0, kSlice);
    out_.erase(0, kSlice);
  }
  const auto self = shared_from_this();
  stream_->write_all(asio::buffer(in_flight_),
                     [self](error_code error, size_t) { self->on_written(error); });
}

void Connection::on_written(error_code error) {
  writing_ = false;
  in_flight_.clear();
  if (in_flight_.capacity() > size_t{16} << 10) in_flight_.shrink_to_fit();
  if (state_ == State::kClosed) return;
  if (error) return abort();
  if (!out_.empty()) return flush();
  if (close_when_written_ && state_ != State::kHandling) return linger();
  consume();
  read();
}

// ---- the end

// Closing at once could take away an answer that the client has not read yet (RFC 9112, 9.6).
void Connection::linger() {
  if (end_of_input_) return abort();
  state_ = State::kLingering;
  since_ = Clock::now();
  in_.clear();
  error_code ignored;
  stream_->socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  read();
}

void Connection::disconnected() {
  const auto exchange = std::exchange(exchange_, nullptr);
  abort();
  if (exchange) exchange->disconnected();
}

void Connection::abort() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  release_body();
  error_code ignored;
  stream_->socket().close(ignored);
  if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->disconnected();
}

void Connection::close_if_idle() {
  if (state_ == State::kReading && !parser_ && !writing_ && in_.empty()) abort();
}

void Connection::sweep(Clock::time_point now) {
  const Limits& limits = context_.limits;
  if (writing_ && now - write_began_ > limits.write) return disconnected();
  switch (state_) {
    case State::kHandshake:
      if (now - since_ > limits.header) abort();
      return;
    case State::kReading:
      if (close_when_written_) return;  // the limit on writing ends it
      if (!parser_) {
        if (now - last_read_ > limits.idle && !writing_) abort();
      } else if (!header_checked_) {
        if (now - since_ > limits.header) {
          reject(408, fmt::format("the request's header took more than {} seconds",
                                  limits.header.count()));
        }
      } else if (now - last_read_ > limits.body || now - since_ > limits.whole_body) {
        reject(408, "the request's body took too long");
      }
      return;
    case State::kLingering:
      if (now - since_ > limits.linger) abort();
      return;
    case State::kHandling:
    case State::kClosed:
      return;
  }
}

}  // namespace upg::server::http
