// The models a server has: one from the start, or a folder of them, loaded when they are asked for
// and unloaded when nobody has asked for a while.
#pragma once

#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/api/api_error.h"
#include "server/language_model.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/scheduler.h"

namespace upg::constrain {
class TokenTable;
}

namespace upg::server {

// A model that is loaded.
class ServedModel {
 public:
  ServedModel(std::string name, std::unique_ptr<LanguageModel> language_model,
              const SchedulerOptions& options, ModelMetrics& metrics, std::string about = {});
  ~ServedModel();

  const std::string id;
  const std::unique_ptr<LanguageModel> model;
  const std::string details;  // JSON members for /props: what its file says of itself
  const int64_t created;      // seconds since 1970
  Scheduler scheduler;

 private:
  mutable std::once_flag table_once_;
  mutable std::shared_ptr<const constrain::TokenTable> table_;

 public:
  // Made when it is first asked for. Thread-safe.
  std::shared_ptr<const constrain::TokenTable> token_table() const;
};

using ServedModelPointer = std::shared_ptr<ServedModel>;

// How a model comes into being; throws upg::Error.
struct LoadedModel {
  std::unique_ptr<LanguageModel> model;
  std::string details;  // as ServedModel::details
};
using ModelLoader = std::function<LoadedModel(const std::filesystem::path& path)>;

struct HostOptions {
  std::vector<std::pair<std::string, std::filesystem::path>> models;  // id, file or folder
  SchedulerOptions scheduler;
  bool on_demand = false;        // else every model is loaded at the start and stays
  int most_loaded = 1;           // at the same time; on demand only
  std::chrono::seconds idle{0};  // until one is unloaded; 0: never
};

// Its functions on the loop's thread; loading happens on one of its own.
class ModelHost {
 public:
  using Callback = std::function<void(ServedModelPointer model, std::optional<ApiError> error)>;

  ModelHost(boost::asio::io_context& loop, HostOptions options, ModelLoader loader,
            Metrics& metrics, Log& log);
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  // Loads what is to be there from the start.
  void begin();
  // The model of that name; of a server with one model, that one whatever the name. The callback
  // comes at once when it is there or never will be, later when it has to be loaded first.
  void acquire(std::string_view name, Callback callback);
  struct Listed {
    std::string id;
    bool loaded = false;
    ServedModelPointer model;  // null: not loaded
  };
  std::vector<Listed> list() const;
  // The one model, or the first that is loaded; null.
  ServedModelPointer any() const;
  bool on_demand() const noexcept { return options_.on_demand; }
  // Ready for requests, or why not yet (503).
  std::optional<ApiError> not_ready() const;
  // To be called now and then: loads what place was missing for, unloads what has been idle.
  void sweep();
  void cancel_all() noexcept;
  // Ends every request and every scheduler; models that somebody still holds do nothing any more.
  void stop() noexcept;
  bool idle() const;
  // Of the model that was to be there from the start, when it could not be loaded.
  std::optional<Error> failure() const { return failure_; }

 private:
  struct Entry {
    std::filesystem::path path;
    ServedModelPointer model;
    bool loading = false;
    std::vector<Callback> waiting;
    Clock::time_point last_used = {};
    Clock::time_point waiting_since = {};
  };
  void load(const std::string& id, Entry& entry);
  void loaded(const std::string& id, const ServedModelPointer& model,
              const std::optional<Error>& error);
  bool make_place();
  void unload(const std::string& id, Entry& entry, std::string_view why);
  void post(std::function<void()> work);
  void work();

  boost::asio::io_context& loop_;
  HostOptions options_;
  ModelLoader loader_;
  Metrics& metrics_;
  Log& log_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::optional<Error> failure_;
  bool stopped_ = false;  // on the loop's thread

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> work_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace upg::server
