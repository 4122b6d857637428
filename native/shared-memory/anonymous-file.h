#pragma once
// Memory that other processes of this host can map: a file without a name, which the kernel frees with the last process
// that has it, however that one ends. Nothing is left to clean up.

#include <cstddef>
#include <cstdint>
#include <string>

#include "open-file.h"

namespace trainyard {

// By what another process finds such a file: /proc/<process>/fd/<file>. The number of a file comes to mean another file
// sooner or later; its inode does not while it is open.
struct FileAddress {
  int32_t process = -1;
  int32_t file = -1;
  uint64_t inode = 0;
  uint64_t bytes = 0;

  // As text and back. Throws std::invalid_argument for other text.
  std::string text() const;
  static FileAddress parse(const std::string& text);
};

enum class Access { read, write };

// So many bytes of zeros that nobody has mapped yet; they can be sealed. Throws std::system_error.
OpenFile create_anonymous_file(const char* name, size_t bytes);

// Where other processes find a file that this one has open. Throws std::system_error.
FileAddress address_of(const OpenFile& file);

// The file of another process. Throws std::system_error when it cannot be opened, is another, or is no longer there.
OpenFile open_anonymous_file(const FileAddress& address, Access access);

// The pages of a file, shared with every process that maps it, until they are unmapped. Throws std::system_error.
void* map_shared(const OpenFile& file, size_t bytes, Access access);

}  // namespace trainyard
