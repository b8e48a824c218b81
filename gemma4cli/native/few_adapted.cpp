#include "few_adapted.h"

#include <numeric>

namespace g4 {

FewAdapted::FewAdapted(const float* x, int64_t count) : x_(x), all_(size_t(count)) {
  std::iota(all_.begin(), all_.end(), 0);
}

const Input& FewAdapted::input_for(const Weight& weight, const std::vector<int64_t>& rows) {
  for (const auto& [known, input] : layouts_) {
    if (known == rows && input->fit(weight)) return input->input();
  }
  std::vector<const float*> x;
  for (int64_t row : rows) x.push_back(x_ + row * weight.columns);
  layouts_.push_back({rows, std::make_unique<PreparedInput>(weight, x)});
  return layouts_.back().input->input();
}

void FewAdapted::add(const Adapted& matrix, float* y) {
  const Weight& weight = matrix.weight;
  const int64_t count = int64_t(all_.size());
  Product product{weight, input_for(weight, all_), rows_of(y, count, weight.rows)};
  const auto changed = matrix.changed(count);
  for (size_t i = 0; i < changed.size(); i++) {
    if (changed[i].empty()) continue;
    const auto& [a, scale, addition] = matrix.adapters[i];
    const float* h = nullptr;
    if (a.rows > 0) h = thin_.add(matrix.adapters[i], input_for(a, changed[i]));
    Added added{&addition, h, {}};
    for (int64_t row : changed[i]) added.y.push_back(product.y[size_t(row)]);
    product.added.push_back(std::move(added));
  }
  products_.push_back(std::move(product));
}

}  // namespace g4
