(ns quorate.checkers.durable
  "Invariant 7: what was acknowledged survives kill -9 of any minority and the power loss of all.

  Every acknowledged switch is in the list at the end, to the region that was asked for; every acknowledged change of members
  is in the membership at the end; nothing less is left than was shown at any time."
  (:require [quorate.history :as h]))

(defn- newest [list] (reduce max 0 (map :epoch (get-in list [:value :switches]))))

(defn- told
  "A list as {:asked :at :oldest :newest :to}, :to by epoch."
  [{:keys [time completed] :as _op}]
  (let [switches (get-in completed [:value :switches])]
    {:asked time :at (:time completed) :to (into {} (map (juxt :epoch :to)) switches)
     :oldest (when (seq switches) (apply min (map :epoch switches))) :newest (newest completed)}))

(defn- switches
  "Every list that was asked for after the acknowledgement and reaches back to it has the switch."
  [history]
  (let [all (filter #(and (= :switches (:f %)) (= :ok (:type (:completed %)))) (h/pairs history))]
    (for [[service _] (h/services history)
          :let [lists (mapv told (sort-by :time (filter #(= service (get-in % [:value :service])) all)))]
          {acknowledged :time {:keys [epoch to] of :service} :value} (h/oks history :switch)
          :when (= service of)
          :let [wrong (first (filter (fn [{:keys [asked oldest newest] kept :to}]
                                       (and (> asked acknowledged)
                                            (or (< newest epoch)
                                                (and oldest (<= oldest epoch) (not= to (get kept epoch))))))
                                     lists))]
          :when wrong
          :let [kept (get (:to wrong) epoch)]]
      (str service ": the switch of epoch " epoch " to " to " was acknowledged at " (h/ms acknowledged) " ms, and at "
           (h/ms (:at wrong)) " ms it " (if kept (str "went to " kept) "is gone")))))

(defn- shrunk [history]
  (for [[service _] (h/services history)
        :let [all (h/lists history service)
              most (reduce max 0 (map newest all))
              left (newest (last all))]
        :when (and (seq all) (< left most))]
    (str service ": epoch " most " was told, at the end the newest is " left)))

(defn- members
  "Changes of one node that nobody contested: the last acknowledged one, unless one with an unknown fate came after it."
  [history]
  (let [voters (some-> (last (h/oks history :members)) :value :voters set)
        ;; A replacement is two changes: one node goes, another comes.
        changes (mapcat (fn [op]
                          (let [{:keys [change node old]} (:value op)]
                            (if (= :replace change)
                              [(assoc op :value {:change :promote :node node}) (assoc op :value {:change :remove :node old})]
                              [op])))
                        (filter #(= :member (:f %)) (h/pairs history)))]
    (when voters
      (for [[node ops] (group-by #(get-in % [:value :node]) changes)
            :let [decisive (remove #(= :fail (:type (:completed %))) ops)
                  final (last decisive)
                  change (get-in final [:value :change])]
            :when (and final (= :ok (:type (:completed final))))
            :let [there (contains? voters node)]
            :when (or (and (= :promote change) (not there)) (and (= :remove change) there))]
        (str "node " node ": the acknowledged " (name change) " is gone, the voters are " (sort voters))))))

(defn check [history]
  (h/verdict 7 (concat (switches history) (shrunk history) (members history))))
