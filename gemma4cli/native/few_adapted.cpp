#include "few_adapted.h"

namespace g4 {

const Input& FewAdapted::input_for(const Weight& weight) {
  for (const auto& known : layouts_) {
    if (known->fit(weight)) return known->input();
  }
  layouts_.push_back(std::make_unique<PreparedInput>(weight, x_, count_));
  return layouts_.back()->input();
}

void FewAdapted::add(const Adapted& matrix, float* y) {
  const auto& [weight, adapter] = matrix;
  Product product{weight, input_for(weight), rows_of(y, count_, weight.rows)};
  if (adapter.changes()) product.addition = &adapter.addition;
  if (adapter.a.rows > 0) product.h = thin_.add(adapter, input_for(adapter.a), count_);
  products_.push_back(std::move(product));
}

}  // namespace g4
