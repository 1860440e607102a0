#include "kernels/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "base/threads.h"
#include "kernels/cuda/rows.h"
#include "upg/error.h"

namespace upg::kernels::cuda {
namespace {

constexpr size_t kBounceBytes = size_t{4} << 20;
constexpr int kUploadThreads = 8;  // more do not fill the bus any better
constexpr int kOldestMajor = 8;
constexpr int kMaxHeadDim = 512;

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

// "cuda", "cuda:1", "auto".
int device_number(const std::string& device) {
  const size_t colon = device.find(':');
  int number = 0;
  if (colon != std::string::npos) {
    const char* end = device.data() + device.size();
    const auto [last, error] = std::from_chars(device.data() + colon + 1, end, number);
    if (error != std::errc() || last != end || number < 0) {
      throw Error(ErrorCode::kUsage, fmt::format("device: found \"{}\", allowed cuda or cuda:N",
                                                 base::printable(device)));
    }
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();
    throw Error(ErrorCode::kDevice, fmt::format("device: found {}, but CUDA says: {}", device,
                                                cudaGetErrorString(status)));
  }
  if (number >= count) {
    throw Error(ErrorCode::kDevice,
                fmt::format("device: found {}, this machine has {} CUDA device{}", device, count,
                            count == 1 ? "" : "s"));
  }
  return number;
}

int checked_device(const BackendOptions& options) {
  if (options.activations == Activations::kF32) {
    throw Error(ErrorCode::kUnsupported,
                "activations: found f32, allowed int8 on cuda; --device reference computes with "
                "f32");
  }
  return device_number(options.device);
}

const DeviceWeight& weight_of(const Weight& weight) {
  return static_cast<const DeviceWeight&>(weight);
}

DeviceInput::Form form_of(const DeviceWeight& weight) {
  return {weight.signs(), weight.takes_integers()};
}

cudaDeviceProp properties_of(int device) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device), "properties of the device");
  return properties;
}

DeviceLimits limits_of(int device) {
  const cudaDeviceProp properties = properties_of(device);
  if (properties.major < kOldestMajor) {
    throw Error(ErrorCode::kDevice,
                fmt::format("device: found {} of compute capability {}.{}, needed is 8.0 or newer",
                            properties.name, properties.major, properties.minor));
  }
  DeviceLimits limits;
  limits.multiprocessors = properties.multiProcessorCount;
  limits.shared_bytes = static_cast<int>(properties.sharedMemPerBlockOptin);
  limits.major = properties.major;
  limits.minor = properties.minor;
  limits.cooperative = properties.cooperativeLaunch != 0;
  return limits;
}

bool supported() noexcept { return device_count() > 0; }

std::unique_ptr<Backend> create(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace

std::span<const BackendRow> rows() noexcept {
  static constexpr BackendRow kRow = {"cuda", "cuda", "an NVIDIA GPU and its driver", supported,
                                      create};
  return {&kRow, 1};
}

CudaBackend::Stream::Stream(int device) {
  check(cudaSetDevice(device), "choosing the device");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaBackend::Stream::~Stream() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

CudaBackend::CudaBackend(const BackendOptions& options)
    : device_(checked_device(options)),
      stream_(device_),
      limits_(limits_of(device_)),
      uploader_(stream_.get(), std::min(kUploadThreads, base::default_threads())),
      weights_(uploader_, stream_.get()),
      step_(stream_.get()),
      bounce_(kBounceBytes),
      chooser_(step_, stream_.get()),
      fusion_(options.fusion),
      token_(limits_, stream_.get()),
      few_(limits_, stream_.get()) {
  if (options.library_products) blas_.emplace(stream_.get());
  const cudaDeviceProp properties = properties_of(device_);
  description_ =
      fmt::format("cuda:{} {}, {} multiprocessors, {}", device_, properties.name,
                  properties.multiProcessorCount, base::format_bytes(properties.totalGlobalMem));
}

CudaBackend::~CudaBackend() { cudaSetDevice(device_); }

std::string CudaBackend::describe() const { return description_; }

void CudaBackend::activate() const { check(cudaSetDevice(device_), "choosing the device"); }

void CudaBackend::launched(std::string_view what) {
  ++launches_;
  check(cudaGetLastError(), what);
}

// ---- memory

uint64_t CudaBackend::available_memory() const {
  activate();
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "free memory");
  return free;
}

Buffer CudaBackend::allocate(size_t bytes) {
  if (bytes == 0) return {};
  activate();
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status != cudaSuccess) {
    size_t free = 0;
    size_t total = 0;
    cudaMemGetInfo(&free, &total);
    check(status, fmt::format("cannot allocate {}, free are {} of {}", base::format_bytes(bytes),
                              base::format_bytes(free), base::format_bytes(total)));
  }
  return {this, data, bytes};
}

void CudaBackend::release(void* data, size_t) noexcept {
  cudaSetDevice(device_);
  cudaFree(data);
}

void CudaBackend::upload(void* to, const void* from, size_t bytes) {
  activate();
  uploader_.upload(to, from, bytes);
}

void CudaBackend::download(void* to, const void* from, size_t bytes) {
  activate();
  if (bytes > kBounceBytes) return uploader_.download(to, from, bytes);
  check(cudaMemcpyAsync(bounce_.data(), from, bytes, cudaMemcpyDeviceToHost, stream_.get()),
        "download");
  check(cudaStreamSynchronize(stream_.get()), "the device's work");
  std::memcpy(to, bounce_.data(), bytes);
}

void CudaBackend::synchronise() {
  activate();
  check(cudaStreamSynchronize(stream_.get()), "the device's work");
}

std::shared_ptr<const Weight> CudaBackend::load(const codec::Matrix& matrix) {
  activate();
  token_.forget();
  return weights_.load(matrix);
}

uint64_t CudaBackend::weight_bytes(const codec::Matrix& matrix) const {
  return device_bytes(matrix);
}

// ---- a step

void CudaBackend::begin_step(const StepBatch& batch) {
  activate();
  step_.begin(batch);
}

void CudaBackend::embed(float* x, const Weight& embedding) {
  const DeviceWeight& weight = weight_of(embedding);
  if (weight.signs() != nullptr) {
    throw Error(ErrorCode::kUnsupported, "embedding: found rotated, cuda reads unrotated ones");
  }
  cuda::embed(weight.view(), step_.device().ids, step_.tokens(), x, stream_.get());
  launched("embedding");
}

void CudaBackend::rms_norm(float* y, const float* x, const float* weight, float epsilon,
                           int64_t rows, int64_t cols) {
  cuda::rms_norm(y, x, weight, epsilon, rows, cols, stream_.get());
  launched("norm");
}

DeviceInput::Slot& CudaBackend::slot_for(const DeviceInput::Form& form) {
  if (input_.used_ == input_.slots_.size()) input_.slots_.emplace_back();
  DeviceInput::Slot& slot = input_.slots_[input_.used_++];
  slot.form = form;
  const int64_t rows = std::max(input_.rows_, input_.tiled_rows_);
  const int64_t blocks = rows * input_.blocks_;
  if (form.quantised) {
    slot.q.reserve<int8_t>(blocks * codec::kBlockColumns);
    slot.scale.reserve<float>(2 * blocks);  // scales, in tiles starts too
    slot.sum.reserve<int32_t>(blocks);
  } else {
    slot.x.reserve<float>(blocks * codec::kBlockColumns);
  }
  return slot;
}

const Prepared& CudaBackend::prepare(const float* x, int64_t rows, const Linear& linear) {
  if (fuses_input(rows, linear)) {
    const TileForm form = begin_tiles(rows, linear);
    plain_to_tiles(x, rows, linear.cols, form, stream_.get());
    launched("inputs of a product");
    return input_;
  }
  input_.used_ = 0;
  input_.rows_ = rows;
  input_.blocks_ = codec::blocks_of(linear.cols);
  input_.tiled_rows_ = has_wgmma() && rows > 1 ? tiled_rows_of(rows) : 0;
  for (const Linear::Part& part : linear.parts) {
    const DeviceInput::Form form = form_of(weight_of(*part.weight));
    const auto begin = input_.slots_.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(input_.used_);
    if (std::any_of(begin, end, [&](const auto& slot) { return slot.form == form; })) continue;
    DeviceInput::Slot& slot = slot_for(form);
    const PreparedForm to = {.signs = form.signs,
                             .q = slot.q.as<int8_t>(),
                             .tiled_rows = form.quantised ? input_.tiled_rows_ : 0,
                             .tile_scale = slot.scale.as<uint32_t>(),
                             .scale = slot.scale.as<float>(),
                             .sum = slot.sum.as<int32_t>(),
                             .x = form.quantised ? nullptr : slot.x.as<float>()};
    cuda::prepare(x, rows, linear.cols, to, stream_.get());
    launched("inputs of a product");
  }
  return input_;
}

InputView DeviceInput::view(const Form& form) const {
  size_t slot = 0;
  while (slot < used_ && slots_[slot].form != form) ++slot;
  UPG_CHECK(slot < used_);
  const Slot& s = slots_[slot];
  return {form.quantised ? s.q.as<int8_t>() : nullptr,
          s.scale.as<float>(),
          s.sum.as<int32_t>(),
          s.x.as<float>(),
          blocks_,
          rows_,
          form.quantised ? tiled_rows_ : 0,
          s.scale.as<uint32_t>()};
}

void CudaBackend::multiply_several(const MatrixView& w, const InputView& x, const OutputView& out) {
  if (x.tiled_rows == 0) return multiply_on_tensor_cores(w, x, out, stream_.get());
  const ProductScratch scratch = product_scratch();
  if (x.tiled_rows <= kFewInputs && multiply_few(w, x, out, {}, scratch, limits_, stream_.get())) {
    return;
  }
  multiply_on_hopper(w, x, out, scratch, limits_.multiprocessors, stream_.get());
}

ProductScratch CudaBackend::product_scratch() {
  if (counters_.bytes() == 0) {
    parts_ = DeviceArray(sizeof(float) * 2 * static_cast<size_t>(limits_.multiprocessors) *
                         kMostPartFloats);
    counters_ = DeviceArray(sizeof(int) * kMostPartTiles);
    check(cudaMemsetAsync(counters_.as<int>(), 0, counters_.bytes(), stream_.get()), "counters");
  }
  return {parts_.as<float>(), counters_.as<int>()};
}

void CudaBackend::matmul(float* y, const Linear& linear, const Prepared& x, int64_t rows,
                         Store store) {
  const auto& input = static_cast<const DeviceInput&>(x);
  UPG_CHECK(rows == input.rows_);
  for (const Linear::Part& part : linear.parts) {
    const DeviceWeight& weight = weight_of(*part.weight);
    const OutputView out = {y, linear.rows, part.bias.floats(), store == Store::kAdd};
    const InputView view = input.view(form_of(weight));
    if (weight.takes_integers() && rows > 1) {
      multiply_several(weight.view(), view, out);
    } else if (weight.takes_integers()) {
      multiply_integers(weight.view(), view, out, stream_.get());
    } else if (!multiply_by_library(weight.view(), view, out)) {
      multiply_floats(weight.view(), view, out, stream_.get());
    }
    launched("product");
    y += weight.rows();
  }
}

// Where it was asked for and pays: the weights are brought to float32 first.
bool CudaBackend::multiply_by_library(const MatrixView& w, const InputView& x,
                                      const OutputView& out) {
  constexpr int64_t kManyInputs = 32;
  if (!blas_ || w.kind == Kind::kMdcsr || x.rows < kManyInputs || out.bias != nullptr) return false;
  const auto* weights = reinterpret_cast<const float*>(w.codes);
  if (w.kind != Kind::kF32) {
    float* floats = as_floats_.reserve<float>(w.rows * w.cols);
    widen(w, floats, stream_.get());
    weights = floats;
  }
  blas_->multiply(x.rows, w.rows, w.cols, {x.x, x.blocks * codec::kBlockColumns},
                  {weights, w.cols, Flipped::kYes}, out.add ? 1 : 0, out.y, out.stride,
                  Precision::kTensor);
  return true;
}

void CudaBackend::rope(float* qkv, const AttentionShape& shape, const float* q_norm,
                       const float* k_norm, float epsilon) {
  const StepView& step = step_.device();
  UPG_CHECK(shape.rotary_dims == 0 || shape.rotary_dims == step.rotary_dims);
  cuda::rope(qkv, shape, q_norm, k_norm, epsilon, step, stream_.get());
  launched("rotary turn");
}

// Any cache, any head, any tokens.
void CudaBackend::attend_few(float* out, const float* qkv, const AttentionShape& shape,
                             const KvLayer& cache, const StepTables::Run& run) {
  StepView step = step_.device();
  step.tokens = run.tokens;
  step.positions += run.first;
  step.page_base += run.first;
  const int64_t units = int64_t{run.tokens} * shape.kv_heads;
  const int longest = shape.window > 0 ? std::min(shape.window, run.longest) : run.longest;
  const bool cuts = has_fast_attention(shape.head_dim);
  const int splits = cuts ? attention_splits(units, longest, limits_) : 1;
  float* partials = nullptr;
  if (splits > 1) {
    const int64_t parts = int64_t{run.tokens} * shape.heads * splits;
    partials = partials_.reserve<float>(parts * (shape.head_dim + kPartExtra));
  }
  attend(out + int64_t{run.first} * shape.q_width(), qkv + int64_t{run.first} * shape.qkv_width(),
         shape, cache, step, splits, partials, stream_.get());
  launched("attention");
}

void CudaBackend::check_heads(const AttentionShape& shape) const {
  if (shape.head_dim <= kMaxHeadDim) return;
  throw Error(ErrorCode::kUnsupported, fmt::format("head_dim: found {}, allowed on cuda up to {}",
                                                   shape.head_dim, kMaxHeadDim));
}

void CudaBackend::attention(float* out, const float* qkv, const AttentionShape& shape,
                            const KvLayer& cache) {
  check_heads(shape);
  store_kv(qkv, shape, cache, step_.device(), stream_.get());
  attend_stored(out, qkv, shape, cache);
}

void CudaBackend::attend_stored(float* out, const float* qkv, const AttentionShape& shape,
                                const KvLayer& cache) {
  const StepView& step = step_.device();
  const bool halves = cache.k_type == KvType::kF16 && cache.v_type == KvType::kF16;
  if (!halves || !has_fast_attention(shape.head_dim)) {
    return attend_few(out, qkv, shape, cache, {0, step.tokens, -1, step_.longest()});
  }
  for (const StepTables::Run& run : step_.runs()) {
    if (run.page_base < 0) {
      attend_few(out, qkv, shape, cache, run);
      continue;
    }
    attend_prompt(out + int64_t{run.first} * shape.q_width(),
                  qkv + int64_t{run.first} * shape.qkv_width(), shape, cache,
                  step.positions + run.first, step.pages + run.page_base, run.tokens,
                  stream_.get());
    launched("attention of a prompt");
  }
}

void CudaBackend::swiglu(float* y, const float* gate_up, int64_t rows, int64_t n) {
  cuda::swiglu(y, gate_up, rows, n, stream_.get());
  launched("swiglu");
}

void CudaBackend::gather_rows(float* y, const float* x, std::span<const int32_t> indices,
                              int64_t cols) {
  const int32_t* on_device = step_.send(indices.data(), indices.size());
  cuda::gather_rows(y, x, on_device, static_cast<int64_t>(indices.size()), cols, stream_.get());
  launched("gathering rows");
}

void CudaBackend::best_ids(std::span<int32_t> ids, const float* logits, int64_t vocabulary) {
  const auto rows = static_cast<int64_t>(ids.size());
  Best* best = best_.reserve<Best>(rows * (kBestParts + 1));
  auto* chosen = reinterpret_cast<int32_t*>(best + rows * kBestParts);
  cuda::best_ids(logits, rows, vocabulary, best, chosen, stream_.get());
  ++launches_;
  launched("best token");
  download(ids.data(), chosen, ids.size_bytes());
}

bool CudaBackend::choose_ids(std::span<int32_t> ids, float* logits, int64_t vocabulary,
                             std::span<const TokenChoice> choices) {
  const int32_t* chosen = chooser_.choose(logits, vocabulary, choices);
  launches_ += static_cast<uint64_t>(chooser_.launches());
  check(cudaGetLastError(), "choosing tokens");
  download(ids.data(), chosen, ids.size_bytes());
  return true;
}

size_t CudaBackend::layers_step(std::span<const LayerStep> steps) {
  if (fusion_ == Fusion::kNone || !has_wgmma()) return 0;
  const size_t done = few_.run(steps, step_, product_scratch());
  launches_ += static_cast<uint64_t>(few_.launches());
  return done;
}

bool CudaBackend::token_step(const TokenStep& step) {
  if (fusion_ == Fusion::kNone || step_.tokens() != 1) return false;
  if (!token_.run(step, step_, fusion_ == Fusion::kLayer)) return false;
  launches_ += static_cast<uint64_t>(token_.launches());
  return true;
}

}  // namespace upg::kernels::cuda
