#include "large-pages.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace trainyard {
namespace {

constexpr size_t large_page_bytes = size_t{2} << 20;

size_t rounded_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

}  // namespace

// Maps a large page more than asked, and gives back what lies before the first whole one and behind the end.
char* map_large_pages(size_t bytes) {
  const size_t kept = rounded_up(bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  const size_t all = kept + large_page_bytes;
  void* start = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TORCH_CHECK(start != MAP_FAILED, "can't allocate memory: you tried to allocate ", bytes, " bytes.");
  const auto first = reinterpret_cast<uintptr_t>(start);
  const uintptr_t data = rounded_up(first, large_page_bytes);
  if (data > first) munmap(start, data - first);
  if (first + all > data + kept) munmap(reinterpret_cast<void*>(data + kept), first + all - (data + kept));
#ifdef MADV_HUGEPAGE
  // Where the system has none to give, small ones it is.
  madvise(reinterpret_cast<void*>(data), kept, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<char*>(data);
}

}  // namespace trainyard
