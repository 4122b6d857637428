/**
 * Bytes. Transfers begin at multiples of it, in the file and best in memory as well; what ends elsewhere reaches the
 * file's end. No disk's direct I/O asks for more (a file system that does is used through the page cache).
 */
export const FILE_ALIGNMENT = 4096;
