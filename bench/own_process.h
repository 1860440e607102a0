// This program once more, as a process of its own: for what only a young process shows.
#pragma once

#include <string>
#include <vector>

namespace upg::bench {

// The number that this program prints when it is run with these arguments; its errors go to
// standard error. Throws Error(kIo) when it cannot be run, fails or prints no number.
double ask_own_process(std::vector<std::string> arguments);

}  // namespace upg::bench
