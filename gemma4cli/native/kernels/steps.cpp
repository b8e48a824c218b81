// One instruction set's steps between the products; compiled once per set, see kernels.cmake.
#include "steps.h"

#include "attention.h"
#include "elementwise.h"
#include "norm.h"
