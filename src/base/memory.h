// What the system is told about memory that is read for every token.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace upg::base {

// Keeps the pages in memory, reading those that are not there yet. Throws Error(kOutOfMemory) when
// the limit for locked memory or the memory itself is too small; `what` names the bytes in the
// message.
void lock_memory(std::span<const std::byte> bytes, std::string_view what);

// Asks for huge pages, which save address translations; where the system has none for this kind of
// memory, nothing happens.
void advise_huge_pages(std::span<const std::byte> bytes) noexcept;

// Moves the pages to a NUMA node, those of a mapped file too, as far as no other process maps them.
// Best effort: false when the system refused.
bool move_to_node(std::span<const std::byte> bytes, int node) noexcept;

}  // namespace upg::base
