#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>
#include <mutex>
#include <utility>

namespace upg::server {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets kTokenBuckets = {1,   2,    5,    10,   20,    50,    100,   200,
                               500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
const Buckets kLatencyBuckets = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
                                 2,     5,    10,   20,   40,  60,  120, 300};
const Buckets kTokenTimeBuckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075,
                                   0.1,    0.15,  0.2,    0.3,   0.5,  0.75,  1,    2.5};
const Buckets kStepBuckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

// Every kind of end, so that a series is there before its first event.
constexpr std::array<const char*, 2> kSuccess = {"stop", "length"};
constexpr std::array<const char*, 3> kFailure = {"cancelled", "timeout", "error"};

}  // namespace

struct Metrics::Impl {
  class Model;

  prometheus::Registry registry;
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Model>> models;
  std::map<std::pair<std::string, int>, Counter*> answers;
  prometheus::Family<Counter>* http = nullptr;
  Gauge* open = nullptr;

  Counter& counter(const char* name, const char* help, const prometheus::Labels& labels) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  Gauge& gauge(const char* name, const char* help, const prometheus::Labels& labels) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }
  Histogram& histogram(const char* name, const char* help, const prometheus::Labels& labels,
                       const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(labels,
                                                                                     buckets);
  }
};

class Metrics::Impl::Model : public ModelMetrics {
 public:
  Model(Impl& all, const std::string& name) {
    const prometheus::Labels label = {{"model_name", name}};
    running_ = &all.gauge("upg:num_requests_running", "Requests that are computed", label);
    waiting_ = &all.gauge("upg:num_requests_waiting", "Requests in the queue", label);
    cache_ = &all.gauge("upg:kv_cache_usage_perc", "Share of the KV cache's pages in use, 0 to 1",
                        label);
    requests_ = &all.counter("upg:requests_total", "Requests that came in", label);
    prompt_ = &all.counter("upg:prompt_tokens_total", "Tokens of prompts", label);
    generated_ = &all.counter("upg:generation_tokens_total", "Tokens written", label);
    asked_ = &all.counter("upg:prefix_cache_queries_total", "Prompt tokens looked up", label);
    hits_ = &all.counter("upg:prefix_cache_hits_total", "Prompt tokens found computed", label);
    preemptions_ = &all.counter("upg:num_preemptions_total",
                                "Requests put back because the KV cache was full", label);
    for (const char* reason : kSuccess) {
      ended_[reason] = &all.counter("upg:request_success_total", "Requests answered, by reason",
                                    {{"model_name", name}, {"finished_reason", reason}});
    }
    for (const char* reason : kFailure) {
      ended_[reason] = &all.counter("upg:request_failure_total", "Requests not answered, by reason",
                                    {{"model_name", name}, {"reason", reason}});
    }
    const auto time = [&](const char* what, const char* help) {
      return &all.histogram(what, help, label, kLatencyBuckets);
    };
    first_token_ = time("upg:time_to_first_token_seconds", "From request to first token");
    end_to_end_ = time("upg:e2e_request_latency_seconds", "From request to last token");
    queue_time_ = time("upg:request_queue_time_seconds", "In the queue");
    prefill_time_ = time("upg:request_prefill_time_seconds", "From first step to first token");
    decode_time_ = time("upg:request_decode_time_seconds", "From first token to last");
    next_token_ = &all.histogram("upg:inter_token_latency_seconds", "From token to token", label,
                                 kTokenTimeBuckets);
    prompt_length_ = &all.histogram("upg:request_prompt_tokens", "Prompt tokens a request", label,
                                    kTokenBuckets);
    answer_length_ = &all.histogram("upg:request_generation_tokens", "Tokens written a request",
                                    label, kTokenBuckets);
    step_tokens_ =
        &all.histogram("upg:iteration_tokens_total", "Tokens a step", label, kStepBuckets);
  }

  void queued(int prompt_tokens) noexcept override {
    requests_->Increment();
    prompt_->Increment(prompt_tokens);
  }
  void prefix(int asked, int cached) noexcept override {
    asked_->Increment(asked);
    hits_->Increment(cached);
  }
  void step(int tokens) noexcept override { step_tokens_->Observe(tokens); }
  void first_token(double seconds) noexcept override { first_token_->Observe(seconds); }
  void next_token(double seconds) noexcept override { next_token_->Observe(seconds); }
  void generated(int tokens) noexcept override { generated_->Increment(tokens); }
  void preempted() noexcept override { preemptions_->Increment(); }
  void ended(const Ended& ended) noexcept override {
    const auto reason = ended_.find(ended.reason);
    if (reason != ended_.end()) reason->second->Increment();
    prompt_length_->Observe(ended.prompt_tokens);
    answer_length_->Observe(ended.generated_tokens);
    queue_time_->Observe(ended.queue_seconds);
    if (ended.generated_tokens > 0) {
      prefill_time_->Observe(ended.prompt_seconds);
      decode_time_->Observe(ended.generate_seconds);
    }
    end_to_end_->Observe(ended.seconds);
  }
  void load(int running, int waiting, double cache_share) noexcept override {
    running_->Set(running);
    waiting_->Set(waiting);
    cache_->Set(cache_share);
  }

 private:
  Gauge* running_;
  Gauge* waiting_;
  Gauge* cache_;
  Counter* requests_;
  Counter* prompt_;
  Counter* generated_;
  Counter* asked_;
  Counter* hits_;
  Counter* preemptions_;
  std::map<std::string, Counter*, std::less<>> ended_;
  Histogram* first_token_;
  Histogram* end_to_end_;
  Histogram* queue_time_;
  Histogram* prefill_time_;
  Histogram* decode_time_;
  Histogram* next_token_;
  Histogram* prompt_length_;
  Histogram* answer_length_;
  Histogram* step_tokens_;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  impl_->http = &prometheus::BuildCounter()
                     .Name("upg:http_requests_total")
                     .Help("Answers, by route and status")
                     .Register(impl_->registry);
  impl_->open = &impl_->gauge("upg:http_connections", "Open connections", {});
}

Metrics::~Metrics() = default;

ModelMetrics& Metrics::model(const std::string& name) {
  const std::lock_guard lock(impl_->mutex);
  auto& model = impl_->models[name];
  if (!model) model = std::make_unique<Impl::Model>(*impl_, name);
  return *model;
}

void Metrics::http_answer(std::string_view route, int status) noexcept {
  const std::lock_guard lock(impl_->mutex);
  Counter*& counter = impl_->answers[{std::string(route), status}];
  if (counter == nullptr) {
    counter =
        &impl_->http->Add({{"route", std::string(route)}, {"status", std::to_string(status)}});
  }
  counter->Increment();
}

void Metrics::connections(int open) noexcept { impl_->open->Set(open); }

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace upg::server
