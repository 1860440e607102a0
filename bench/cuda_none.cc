// Built without CUDA: the book has no rows of a GPU.
#include "suite.h"

namespace upg::bench {

void add_device_limits(const Options&, Suite&) {}
void add_cublas(const Options&, Suite&) {}
void add_cusparse(const Options&, Suite&) {}

}  // namespace upg::bench
