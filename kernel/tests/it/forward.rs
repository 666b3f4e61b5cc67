//! Forwards methods of [`Store`](antiphon_kernel::store::Store) to a field: for a store that changes one or two of them.

/// `forward!(below: get scan)`, within `impl Store for`: these methods are those of the field `below`.
macro_rules! forward {
    ($field:tt: $($method:ident)+) => {
        $(forward!(@$method $field);)+
    };
    (@get $field:tt) => {
        fn get(&self, family: antiphon_kernel::store::Family<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, antiphon_kernel::store::StoreError> {
            self.$field.get(family, key)
        }
    };
    (@scan $field:tt) => {
        fn scan(&self, family: antiphon_kernel::store::Family<'_>, range: antiphon_kernel::store::KeyRange<'_>, visit: &mut antiphon_kernel::store::Visitor<'_>) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.scan(family, range, visit)
        }
    };
    (@scan_floor $field:tt) => {
        fn scan_floor(&self, family: antiphon_kernel::store::Family<'_>, range: antiphon_kernel::store::KeyRange<'_>, visit: &mut antiphon_kernel::store::Visitor<'_>) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.scan_floor(family, range, visit)
        }
    };
    (@last $field:tt) => {
        fn last(&self, family: antiphon_kernel::store::Family<'_>, prefix: &[u8]) -> Result<Option<antiphon_kernel::store::KeyValue>, antiphon_kernel::store::StoreError> {
            self.$field.last(family, prefix)
        }
    };
    (@commit $field:tt) => {
        fn commit(&self, batch: &antiphon_kernel::store::Batch, durability: antiphon_kernel::store::Durability) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.commit(batch, durability)
        }
    };
    (@sync $field:tt) => {
        fn sync(&self) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.sync()
        }
    };
    (@ensure_families $field:tt) => {
        fn ensure_families(&self, names: &[&str]) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.ensure_families(names)
        }
    };
    (@reopen $field:tt) => {
        fn reopen(&self) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.reopen()
        }
    };
    (@check $field:tt) => {
        fn check(&self) -> Result<(), antiphon_kernel::store::StoreError> {
            self.$field.check()
        }
    };
    (@keys $field:tt) => {
        fn keys(&self) -> Result<Option<std::sync::Arc<dyn antiphon_kernel::Signer>>, antiphon_kernel::KeyError> {
            self.$field.keys()
        }
    };
    (@create_keys $field:tt) => {
        fn create_keys(&self) -> Result<Option<std::sync::Arc<dyn antiphon_kernel::Signer>>, antiphon_kernel::KeyError> {
            self.$field.create_keys()
        }
    };
}

pub(crate) use forward;
