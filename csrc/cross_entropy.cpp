namespace groundup::GROUNDUP_ISA {}
