// What is counted, under the names vLLM made known, with the prefix `upg:`; served at /metrics.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace upg::server {

// Of one model. Thread-safe.
class ModelMetrics {
 public:
  virtual ~ModelMetrics() = default;
  virtual void queued(int prompt_tokens) noexcept = 0;  // a request came in
  virtual void prefix(int asked, int cached) noexcept = 0;
  virtual void step(int tokens) noexcept = 0;
  virtual void first_token(double seconds) noexcept = 0;
  virtual void next_token(double seconds) noexcept = 0;
  virtual void generated(int tokens) noexcept = 0;  // of all requests, as they come
  virtual void preempted() noexcept = 0;
  // reason: stop, length, cancelled, error
  struct Ended {
    std::string_view reason;
    int prompt_tokens = 0;
    int generated_tokens = 0;
    double queue_seconds = 0;
    double prompt_seconds = 0;
    double generate_seconds = 0;
    double seconds = 0;
  };
  virtual void ended(const Ended& ended) noexcept = 0;
  virtual void load(int running, int waiting, double cache_share) noexcept = 0;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Of one name there is one, however often it is asked for; lives as long as this.
  ModelMetrics& model(const std::string& name);
  // An answer of the HTTP layer: route as in the table of routes.
  void http_answer(std::string_view route, int status) noexcept;
  void connections(int open) noexcept;

  std::string text() const;  // Prometheus' text format

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace upg::server
