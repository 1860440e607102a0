#include "server/model_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <utility>

#include "base/text.h"
#include "constrain/token_table.h"

namespace upg::server {
namespace {

// A request waits so long for the models that are loaded to be done, so that one can be unloaded.
constexpr std::chrono::seconds kPatience{30};

}  // namespace

ServedModel::ServedModel(std::string name, std::unique_ptr<LanguageModel> language_model,
                         const SchedulerOptions& options, ModelMetrics& metrics, std::string about)
    : id(std::move(name)),
      model(std::move(language_model)),
      details(std::move(about)),
      created(static_cast<int64_t>(std::time(nullptr))),
      scheduler(*model, options, metrics) {}

ServedModel::~ServedModel() = default;

std::shared_ptr<const constrain::TokenTable> ServedModel::token_table() const {
  std::call_once(table_once_, [this] {
    std::vector<std::string_view> pieces;
    for (int32_t id_of = 0; id_of < model->info().vocabulary; ++id_of) {
      pieces.push_back(model->is_special(id_of) ? std::string_view() : model->token_bytes(id_of));
    }
    table_ = std::make_shared<const constrain::TokenTable>(pieces);
  });
  return table_;
}

ModelHost::ModelHost(boost::asio::io_context& loop, HostOptions options, ModelLoader loader,
                     Metrics& metrics, Log& log)
    : loop_(loop),
      options_(std::move(options)),
      loader_(std::move(loader)),
      metrics_(metrics),
      log_(log) {
  for (const auto& [id, path] : options_.models) entries_[id].path = path;
  thread_ = std::thread([this] { work(); });
}

void ModelHost::begin() {
  if (options_.on_demand) return;
  for (auto& [id, entry] : entries_) load(id, entry);
}

ModelHost::~ModelHost() { stop(); }

void ModelHost::stop() noexcept {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  stopped_ = true;
  work_.clear();
  for (auto& [id, entry] : entries_) {
    if (entry.model) entry.model->scheduler.stop();
  }
}

void ModelHost::acquire(std::string_view name, Callback callback) {
  auto found = entries_.find(name);
  if (found == entries_.end() && (entries_.size() == 1 || name.empty())) found = entries_.begin();
  if (found == entries_.end()) {
    callback(nullptr, ApiError(404, fmt::format("there is no model {}", base::printable(name)),
                               "model", "model_not_found"));
    return;
  }
  auto& [id, entry] = *found;
  entry.last_used = Clock::now();
  if (entry.model) {
    callback(entry.model, {});
  } else if (entry.loading && !options_.on_demand) {
    callback(nullptr, *not_ready());
  } else {
    if (entry.waiting.empty()) entry.waiting_since = Clock::now();
    entry.waiting.push_back(std::move(callback));
    if (!entry.loading) load(id, entry);
  }
}

// On the loop's thread; the work itself is not.
void ModelHost::load(const std::string& id, Entry& entry) {
  if (options_.on_demand && !make_place()) return;  // sweep() tries again
  entry.loading = true;
  log_.info("model loading", {{"model", id}});
  post([this, id, path = entry.path] {
    ServedModelPointer model;
    std::optional<Error> error;
    try {
      LoadedModel loaded = loader_(path);
      model = std::make_shared<ServedModel>(id, std::move(loaded.model), options_.scheduler,
                                            metrics_.model(id), std::move(loaded.details));
    } catch (const Error& failed) {
      error = failed;
    } catch (const std::bad_alloc&) {
      error = Error(ErrorCode::kOutOfMemory, fmt::format("{}: out of memory", id));
    } catch (const std::exception& failed) {
      error = Error(ErrorCode::kIo, fmt::format("{}: {}", id, failed.what()));
    }
    boost::asio::post(loop_,
                      [this, id, model, error = std::move(error)] { loaded(id, model, error); });
    try {
      if (model) model->token_table();  // so that no request has to wait for it
    } catch (const std::exception&) {
      // No tokenizer: requests that need it will be told so.
    }
  });
}

void ModelHost::loaded(const std::string& id, const ServedModelPointer& model,
                       const std::optional<Error>& error) {
  if (stopped_) return;  // nobody waits any more
  Entry& entry = entries_[id];
  entry.loading = false;
  entry.model = model;
  entry.last_used = Clock::now();
  if (error) {
    log_.error("model not loaded", {{"model", id}, {"error", std::string_view(error->what())}});
    if (!options_.on_demand) failure_ = error;
  } else {
    log_.info("model loaded", {{"model", id},
                               {"seconds", model->model->info().load_seconds},
                               {"context", int64_t{model->model->info().context}},
                               {"backend", std::string_view(model->model->info().backend)}});
  }
  for (const Callback& callback : std::exchange(entry.waiting, {})) {
    if (error) {
      callback(nullptr, ApiError(503, error->what(), "model"));
    } else {
      callback(model, {});
    }
  }
}

// Unloads the one that was not used for longest; false when all are at work.
bool ModelHost::make_place() {
  const auto taken = [](const auto& item) { return item.second.model || item.second.loading; };
  while (std::count_if(entries_.begin(), entries_.end(), taken) >= options_.most_loaded) {
    auto oldest = entries_.end();
    for (auto one = entries_.begin(); one != entries_.end(); ++one) {
      Entry& entry = one->second;
      if (!entry.model || entry.model.use_count() > 1 || !entry.model->scheduler.idle()) continue;
      if (oldest == entries_.end() || entry.last_used < oldest->second.last_used) oldest = one;
    }
    if (oldest == entries_.end()) return false;
    unload(oldest->first, oldest->second, "place is needed");
  }
  return true;
}

void ModelHost::unload(const std::string& id, Entry& entry, std::string_view why) {
  log_.info("model unloaded", {{"model", id}, {"why", why}});
  post([model = std::exchange(entry.model, nullptr)]() mutable { model.reset(); });
}

void ModelHost::sweep() {
  for (auto& [id, entry] : entries_) {
    if (!entry.model || !entry.model->scheduler.state().failed) continue;
    // A device that is lost does not come back within this process: a service manager starts anew.
    if (!options_.on_demand) failure_ = Error(ErrorCode::kDevice, id + ": its device has failed");
    if (options_.on_demand && entry.model.use_count() == 1) unload(id, entry, "its device failed");
  }
  if (!options_.on_demand) return;
  for (auto& [id, entry] : entries_) {
    if (entry.waiting.empty() || entry.loading) continue;
    load(id, entry);
    if (entry.loading || Clock::now() - entry.waiting_since < kPatience) continue;
    ApiError busy(503, fmt::format("{}: as many models as this server may have are at work", id));
    busy.retry_after = 5;
    for (const Callback& callback : std::exchange(entry.waiting, {})) callback(nullptr, busy);
  }
  if (options_.idle.count() == 0) return;
  for (auto& [id, entry] : entries_) {
    if (!entry.model || entry.model.use_count() > 1 || !entry.model->scheduler.idle()) continue;
    if (Clock::now() - entry.last_used > options_.idle) unload(id, entry, "idle");
  }
}

std::vector<ModelHost::Listed> ModelHost::list() const {
  std::vector<Listed> models;
  for (const auto& [id, entry] : entries_) {
    models.push_back({id, entry.model != nullptr, entry.model});
  }
  return models;
}

ServedModelPointer ModelHost::any() const {
  for (const auto& [id, entry] : entries_) {
    if (entry.model) return entry.model;
  }
  return nullptr;
}

std::optional<ApiError> ModelHost::not_ready() const {
  for (const auto& [id, entry] : entries_) {
    if (entry.model && entry.model->scheduler.state().failed) {
      return ApiError(503, fmt::format("{}: its device has failed", id));
    }
    if (options_.on_demand || entry.model) continue;
    ApiError loading(503, failure_ ? failure_->what() : "Loading model");
    loading.retry_after = 1;
    return loading;
  }
  return {};
}

void ModelHost::cancel_all() noexcept {
  for (const auto& [id, entry] : entries_) {
    if (entry.model) entry.model->scheduler.cancel_all();
  }
}

bool ModelHost::idle() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const auto& item) {
    return !item.second.model || item.second.model->scheduler.idle();
  });
}

void ModelHost::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
  }
  wake_.notify_one();
}

void ModelHost::work() {
  while (true) {
    std::function<void()> next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !work_.empty(); });
      if (stopping_) return;
      next = std::move(work_.front());
      work_.pop_front();
    }
    next();
  }
}

}  // namespace upg::server
