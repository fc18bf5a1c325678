//! XML as a small tree, both ways.

use base::{Error, Result};
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

/// An element with its attributes and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub(crate) fn new(name: &str) -> Element {
        Element {
            name: name.into(),
            ..Element::default()
        }
    }

    pub(crate) fn attr(mut self, name: &str, value: impl ToString) -> Element {
        self.attributes.push((name.into(), value.to_string()));
        self
    }

    pub(crate) fn text(mut self, text: impl ToString) -> Element {
        self.text = text.to_string();
        self
    }

    pub(crate) fn with(mut self, child: Element) -> Element {
        self.children.push(child);
        self
    }

    pub(crate) fn with_all(mut self, children: impl IntoIterator<Item = Element>) -> Element {
        self.children.extend(children);
        self
    }

    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// All children of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.name == name)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// An attribute of a child, which most of libvirt's facts are.
    pub(crate) fn find(&self, child: &str, attribute: &str) -> Option<&str> {
        self.child(child)?.attribute(attribute)
    }

    pub(crate) fn to_xml(&self) -> Result<String> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write(&mut writer).map_err(Error::internal)?;
        String::from_utf8(writer.into_inner()).map_err(Error::internal)
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.name.as_str());
        for (name, value) in &self.attributes {
            start.push_attribute((name.as_str(), value.as_str()));
        }
        if self.children.is_empty() && self.text.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if !self.text.is_empty() {
            writer.write_event(Event::Text(BytesText::new(&self.text)))?;
        }
        for child in &self.children {
            child.write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.name.as_str())))
    }

    pub(crate) fn parse(xml: &str) -> Result<Element> {
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Element::default()];
        loop {
            let event = reader
                .read_event()
                .map_err(|e| Error::internal(format!("xml: {e}")))?;
            match event {
                Event::Start(start) => open.push(begin(&start)?),
                Event::Empty(start) => {
                    let element = begin(&start)?;
                    if let Some(parent) = open.last_mut() {
                        parent.children.push(element);
                    }
                }
                Event::End(_) => {
                    if let (Some(element), Some(parent)) = (open.pop(), open.last_mut()) {
                        parent.children.push(element);
                    }
                }
                Event::Text(text) => {
                    if let Some(parent) = open.last_mut() {
                        parent
                            .text
                            .push_str(text.xml_content(XmlVersion::Implicit1_0).trim());
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let root = open
            .into_iter()
            .next()
            .and_then(|mut top| top.children.pop());
        root.ok_or_else(|| Error::internal("xml without an element"))
    }
}

fn begin(start: &BytesStart<'_>) -> Result<Element> {
    let mut element = Element::new(start.name().0);
    for attribute in start.attributes() {
        let attribute = attribute.map_err(Error::internal)?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(Error::internal)?;
        element
            .attributes
            .push((attribute.key.0.to_string(), value.into_owned()));
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let name = "a <b> & \"c\"";
        let tree = Element::new("domain")
            .attr("type", name)
            .with(Element::new("name").text("x<y"))
            .with(Element::new("disk").with(Element::new("target").attr("dev", "vda")));
        let xml = tree.to_xml().unwrap();
        assert!(!xml.contains("<b>") && !xml.contains("x<y"), "{xml}");
        let back = Element::parse(&xml).unwrap();
        assert_eq!(back.attribute("type"), Some(name));
        assert_eq!(
            back.child("disk").and_then(|d| d.find("target", "dev")),
            Some("vda")
        );
        assert!(Element::parse("<a><b></a>").is_err());
    }
}
