// Part of the strict Windows: Linux reads and writes every byte as it is.
#pragma once

#include <cstdio>

constexpr int _O_BINARY = 0;
inline int _fileno(std::FILE* file) { return fileno(file); }
inline int _setmode(int, int) { return 0; }
