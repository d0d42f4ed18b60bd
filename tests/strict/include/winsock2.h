// Part of the strict Windows: all of it is declared in one header.
#pragma once

#include <windows.h>
