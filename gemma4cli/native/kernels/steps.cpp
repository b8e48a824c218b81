// One instruction set's steps between the products; compiled once per set, see kernels.cmake.
#include "steps.h"

#include "attention.h"
#include "attention_back.h"
#include "convolution.h"
#include "elementwise.h"
#include "local_attention.h"
#include "norm.h"
