// IntrusiveList: a doubly linked list whose links live in the elements.
//
// Nothing is allocated, an element removes itself in constant time, and the order is insertion
// order, which keeps explored code deterministic. An element is in at most one list per link
// member; it must be unlinked before it is destroyed (checked).
//
//   struct Waiter { ListLink link; ... };
//   IntrusiveList<Waiter, &Waiter::link> waiters;
#ifndef MILLRACE_ENGINE_BASE_INTRUSIVE_LIST_H_
#define MILLRACE_ENGINE_BASE_INTRUSIVE_LIST_H_

#include <cstddef>
#include <cstdint>

#include "millrace/engine/base/check.h"

namespace millrace {

struct ListLink {
  ListLink* next = nullptr;
  ListLink* previous = nullptr;
  void* owner;  // the element; only meaningful while linked

  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  ~ListLink() { MILLRACE_CHECK(next == nullptr, "destroyed while linked in a list"); }

  bool is_linked() const { return next != nullptr; }
  void Unlink() {
    next->previous = previous;
    previous->next = next;
    next = previous = nullptr;
  }
};

template <typename Element, ListLink Element::*kLink>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next = head_.previous = &head_; }
  ~IntrusiveList() {
    MILLRACE_CHECK(empty(), "list destroyed with elements in it");
    head_.next = head_.previous = nullptr;
  }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == &head_; }
  size_t size() const { return size_; }

  void PushBack(Element& element) { InsertBefore(&head_, element); }
  void PushFront(Element& element) { InsertBefore(head_.next, element); }
  void Remove(Element& element) {
    MILLRACE_CHECK((element.*kLink).is_linked(), "element is not in the list");
    (element.*kLink).Unlink();
    --size_;
  }
  Element* front() const { return empty() ? nullptr : FromLink(head_.next); }
  Element* back() const { return empty() ? nullptr : FromLink(head_.previous); }
  // The next element, or null at the end. Reading the next one before removing this one is safe.
  Element* After(const Element& element) const {
    ListLink* next = (element.*kLink).next;
    return next == &head_ ? nullptr : FromLink(next);
  }
  // The one before, or null at the start.
  Element* Before(const Element& element) const {
    ListLink* previous = (element.*kLink).previous;
    return previous == &head_ ? nullptr : FromLink(previous);
  }
  // Behind `position`; at the front if that is null.
  void InsertAfter(Element* position, Element& element) {
    InsertBefore(position == nullptr ? head_.next : (position->*kLink).next, element);
  }
  Element* PopFront() {
    Element* element = front();
    if (element != nullptr) Remove(*element);
    return element;
  }
  // Appends everything in `other`, which is empty afterwards. Constant time.
  void TakeAll(IntrusiveList& other) {
    if (other.empty()) return;
    ListLink* const first = other.head_.next;
    ListLink* const last = other.head_.previous;
    first->previous = head_.previous;
    head_.previous->next = first;
    last->next = &head_;
    head_.previous = last;
    size_ += other.size_;
    other.head_.next = other.head_.previous = &other.head_;
    other.size_ = 0;
  }
  // Linear; for choices among few elements.
  Element* At(size_t index) const {
    Element* element = front();
    while (index-- > 0) element = After(*element);
    return element;
  }

 private:
  void InsertBefore(ListLink* position, Element& element) {
    ListLink& link = element.*kLink;
    MILLRACE_CHECK(!link.is_linked(), "element is already in a list");
    link.owner = &element;
    link.next = position;
    link.previous = position->previous;
    position->previous->next = &link;
    position->previous = &link;
    ++size_;
  }
  static Element* FromLink(ListLink* link) { return static_cast<Element*>(link->owner); }

  ListLink head_;
  size_t size_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_INTRUSIVE_LIST_H_
