#pragma once
// Memory from the system on large pages, where it has them: a small page at a time is what memory is given in
// otherwise, and looking up where each lies costs bandwidth, on virtual machines above all.

#include <cstddef>

namespace trainyard {

// So many bytes of zeros that begin at a large page, for `munmap` to free. Throws c10::Error where there are none.
char* map_large_pages(size_t bytes);

}  // namespace trainyard
